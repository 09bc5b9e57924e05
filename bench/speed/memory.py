"""Memory of a cohort: how far a process grows that trains it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from bench.speed.cases import CaseName, case

MIB = 2**20
STATUS = Path("/proc/self/status")


def peak_growth(name: CaseName, runs: int) -> int | None:
    """Bytes by which a fresh process grows at most while it builds a cohort and trains it for 3 steps.

    None where the system does not tell, or the process does not survive.
    """
    if not STATUS.exists():
        return None
    code = f"from bench.speed.memory import grow; print(grow({name!r}, {runs}))"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return int(done.stdout)


def grow(name: CaseName, runs: int) -> int:
    """The same for this process. A small cohort goes before, so that what the libraries load does not count."""
    torch.set_num_threads(1)
    case("digits").trainer(1).step()
    chosen = case(name)
    before = _status("VmRSS")
    trainer = chosen.trainer(runs)
    for _ in range(3):
        trainer.step()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    """A field of this process's status, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024
