"""What a grid is and what it will cost, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from bench.datasets import Dataset
from bench.execution.cohorts import Cohort, free_on
from bench.execution.estimate import Estimate, Kind, estimate
from bench.execution.worker import Job
from bench.grid import Run

MIB, GIB = 2**20, 2**30
MEMORY = Path("/proc/meminfo")


def describe_grid(
    runs: Sequence[Run],
    cohorts: Sequence[Cohort],
    dataset: Dataset,
    job: Job,
    jobs: int,
    processes: int | None = None,
) -> tuple[str, Estimate | None]:
    """The grid, the cohorts still to train, and the hours and the memory that they will take, if there are any.

    Args:
        jobs: how many workers there are.
        processes: how many processes of this machine measure in their place; None: the workers are this machine's.
    """
    lines = [f"{len(runs)} runs on {dataset.name}, {sum(len(c.runs) for c in cohorts)} of them to train:"]
    cells: dict[tuple[str, str, int, int], list[int]] = {}
    for run in runs:
        cells.setdefault((run.label, run.protocol, run.budget, run.steps), []).append(run.seed)
    lines += [
        f"  {label}, {protocol}: {budget} labels, {steps} steps, {_count(len(seeds), 'seed')}"
        for (label, protocol, budget, steps), seeds in cells.items()
    ]
    if not cohorts:
        return "\n".join([*lines, "Estimate: nothing is left to train."]), None
    lines.append(f"{_count(len(cohorts), 'cohort')} on {job.device} with {_count(jobs, 'worker')}:")
    workers = min(jobs, len(cohorts))
    free = {"memory": free_memory(), "memory of the GPU": free_on(torch.device(job.device))}
    found = estimate(cohorts, dataset, job, workers, min(processes or workers, workers))
    lines += [*map(kind_line, found.kinds), total_line(found)]
    if processes is None:
        needed = {"memory": workers * found.process, "memory of the GPU": workers * (found.device or 0)}
        lines += too_much(needed, free)
    return "\n".join(lines), found


def whole_line(found: Sequence[Estimate]) -> str:
    """Of grids that are trained one after the other."""
    start = max(own.start for own in found)
    wall = start + sum(own.wall - own.start for own in found)
    hours = sum(own.busy for own in found) / 3600
    where = "GPU" if any(own.device is not None for own in found) else "core"
    return f"All {len(found)} grids with something to train: about {duration(wall)} in all; {hours:.2g} {where} hours."


def kind_line(kind: Kind) -> str:
    first = kind.cohorts[0].runs[0]
    budgets = ",".join(map(str, sorted({run.budget for cohort in kind.cohorts for run in cohort.runs})))
    memory = "unknown memory" if kind.bytes is None else _memory(kind.bytes)
    runs = len(kind.cohorts[0].runs)
    source = f", timed on {_count(kind.timed, 'run')}" if kind.timed < runs else ""
    return (
        f"  {first.label}, {first.protocol}, {budgets} labels: {_count(len(kind.cohorts), 'cohort')} x "
        f"{_count(runs, 'run')} ({kind.executor}): each about {duration(kind.seconds)}{source} "
        f"and {memory}"
    )


def total_line(found: Estimate) -> str:
    hours, cuda = found.busy / 3600, found.device is not None
    on_device = f", and {_memory(found.workers * (found.device or 0))} of the GPU" if cuda else ""
    unknown = " (and what is unknown)" if any(kind.bytes is None for kind in found.kinds) else ""
    return (
        f"Estimate: about {duration(found.wall)} in all, if {found.workers} "
        f"{'core is' if found.workers == 1 else 'cores are'} free; {hours:.2g} {'GPU' if cuda else 'core'} hours; "
        f"at most {_memory(found.process)} per worker, {_memory(found.workers * found.process)} for all{on_device}"
        f"{unknown}."
    )


def too_much(needed: dict[str, int], free: dict[str, int | None]) -> Iterator[str]:
    """What this machine has not got: bytes of each sort of memory; None where nobody can tell."""
    for sort, bytes_ in needed.items():
        there = free[sort]
        if there is not None and bytes_ > there:
            yield f"That is more {sort} than is free here ({_memory(there)}): lower --cohort or --jobs."


def free_memory() -> int | None:
    """Bytes that new processes may take; None where the system does not tell."""
    if not MEMORY.exists():
        return None
    line = next(line for line in MEMORY.read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _memory(size: int) -> str:
    return f"{size / MIB:.0f} MiB" if size < GIB else f"{size / GIB:.1f} GiB"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
