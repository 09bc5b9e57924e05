"""Where a result comes from: code, versions, machine."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import re
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "numpy", "scikit-learn", "pydantic", "ssgan-bench")


@cache
def environment() -> dict[str, Any]:
    """What stays the same for all runs of a process."""
    return {
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "mkl": torch.backends.mkl.is_available(),
        "mkl_cbwr": os.environ.get("MKL_CBWR", ""),
        "source": source_hash(),
        "git": _git_revision(),
    }


def measurements(device: torch.device, precision: str) -> dict[str, Any]:
    """What was measured of the process up to now."""
    facts: dict[str, Any] = {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": precision,
        "threads": torch.get_num_threads(),
        "peak_memory_mib": peak_memory() // 2**20,
    }
    if device.type == "cuda":
        facts["peak_device_memory_mib"] = torch.cuda.max_memory_allocated(device) // 2**20
    return facts


def peak_memory() -> int:
    """The most bytes that this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform == "linux" else 1)


@cache
def source_hash() -> str:
    """SHA-256 over the installed sources of the trainer and the variants."""
    digest = hashlib.sha256()
    for package in ("bench", "variants"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def _git_revision() -> str | None:
    """The revision of the working tree that the code runs from, with `+` where it has changes; None elsewhere."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10)
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", __file__], cwd=folder, capture_output=True, text=True, timeout=10
        )
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if head.returncode or tracked.returncode:
        return None
    return head.stdout.strip()[:12] + ("+" if dirty.stdout.strip() else "")


def _processor() -> str:
    """The CPU's name, family and model, and the vectors that torch uses: where they are alike, bits are, too.

    A virtual machine's CPU may go by a name that several generations share.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    facts = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in lines if ":" in line)
    name = facts.get("model name") or platform.processor() or platform.machine()
    kind = f" (family {facts['cpu family']}, model {facts['model']})" if {"cpu family", "model"} <= facts.keys() else ""
    return f"{name}{kind}, {torch.backends.cpu.get_cpu_capability()}"
