"""Memory of a cohort: what its state takes, and how far a process grows that trains it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.speed.cases import CaseName, case
from bench.training.trainer import Trainer

MIB = 2**20
STATUS = Path("/proc/self/status")


def state_bytes(trainer: Trainer) -> int:
    """Weights, gradients, buffers, optimiser state and averages of a cohort that has taken a step."""
    parts: list[Any] = [[net.flat, net.gradient, net.buffers] for net in trainer.networks.values()]
    parts += [[average.flat, average.buffers] for average in trainer.averages.values()]
    parts += [list(optimiser.state.values()) for optimiser in trainer.optimisers.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors([parts, dict(trainer.state)]))


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(value)


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
