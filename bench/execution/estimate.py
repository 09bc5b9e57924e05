"""What a grid is and what it will cost, measured on a few steps of each kind of cohort."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence

import torch

from bench import registry
from bench.datasets import Dataset
from bench.errors import running
from bench.execution.cohorts import Cohort, DataSource
from bench.execution.worker import prepare
from bench.grid import Run

PROBE_STEPS = 3


def describe_grid(
    runs: Sequence[Run],
    cohorts: Sequence[Cohort],
    dataset: Dataset,
    device: torch.device,
    jobs: int,
    source: DataSource,
) -> str:
    """The grid, the cohorts still to train, and the hours that they will take."""
    lines = [f"{len(runs)} runs on {dataset.name}, {sum(len(c.runs) for c in cohorts)} of them to train:"]
    cells: dict[tuple[str, str, int, int], list[int]] = {}
    for run in runs:
        cells.setdefault((run.label, run.protocol, run.budget, run.steps), []).append(run.seed)
    lines += [
        f"  {label}, {protocol}: {budget} labels, {steps} steps, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
        for (label, protocol, budget, steps), seeds in cells.items()
    ]
    lines.append(f"{len(cohorts)} cohorts on {device} with {jobs} worker processes:")
    costs = dict[tuple[str, int, int, int], tuple[float, str]]()
    busy = [0.0] * min(jobs, max(len(cohorts), 1))
    torch.set_num_threads(1)
    for cohort in cohorts:
        first = cohort.runs[0]
        key = (first.label, first.budget, first.steps, len(cohort.runs))
        if key not in costs:
            with running(first.label, registry.get(first.variant).__module__):
                costs[key] = _cost(cohort, dataset, device, source)
        seconds, executor = costs[key]
        waits = heapq.heappop(busy)  # the worker that is free first
        heapq.heappush(busy, waits + seconds)
        lines.append(f"  {first.label} x {len(cohort.runs)} ({executor}): about {_duration(seconds)}")
    lines.append(f"Estimate: about {_duration(max(busy))} in all, if {len(busy)} cores are free.")
    return "\n".join(lines)


def _cost(cohort: Cohort, dataset: Dataset, device: torch.device, source: DataSource) -> tuple[float, str]:
    """Seconds for a cohort: a few steps and one evaluation are timed. Later phases may cost more."""
    started = time.perf_counter()
    trainer, _ = prepare(cohort.runs, dataset, device, source.index_file)
    trainer.step()
    setup = time.perf_counter() - started
    times = []
    for _ in range(min(PROBE_STEPS, trainer.schedule.steps - 1)):
        start = time.perf_counter()
        trainer.step()
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    trainer.evaluate()
    evaluation = time.perf_counter() - start
    step = sorted(times)[len(times) // 2] if times else setup
    return setup + step * trainer.schedule.steps + evaluation * len(trainer.schedule.evaluations), trainer.executor.name


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
