"""The time and the memory that cohorts will take: a few steps of each phase are measured, sizes are worked out."""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from bench.datasets import Dataset
from bench.errors import UsageError
from bench.execution.cohorts import Cohort, data_bytes, shape_of, variant_of
from bench.execution.footprint import footprint
from bench.execution.pools import in_processes
from bench.execution.probe import Probe, probe
from bench.execution.worker import Job


@dataclass(frozen=True)
class Kind:
    """Cohorts of one shape and size, which cost the same.

    Attributes:
        seconds: of one of them.
        timed: how many of its runs were measured.
        bytes: of one of them in training; None where nobody can tell.
    """

    cohorts: tuple[Cohort, ...]
    executor: str
    seconds: float
    timed: int
    bytes: int | None


@dataclass(frozen=True)
class Estimate:
    """Of all cohorts.

    Attributes:
        workers: at most so many at the same time.
        start: seconds until the first cohorts begin.
        wall: seconds from the call to the last run.
        busy: seconds of all workers together.
        process: bytes of a worker process at most.
        device: bytes of tensors that a worker has on the GPU at most; None on a CPU.
    """

    kinds: tuple[Kind, ...]
    workers: int
    start: float
    wall: float
    busy: float
    process: int
    device: int | None


def estimate(cohorts: Sequence[Cohort], dataset: Dataset, job: Job, workers: int, processes: int) -> Estimate:
    """Of cohorts that so many workers train; so many processes of this machine measure at the same time.

    Raises:
        UsageError: a variant's own code fails, or kills the worker.
    """
    before = _begun()
    groups = _kinds(cohorts, dataset)
    probes = _probes([members[0] for members in groups], job, processes)
    kinds = [_kind(members, own, dataset, job.device) for members, own in zip(groups, probes, strict=True)]
    seconds = {cohort.name: kind.seconds for kind in kinds for cohort in kind.cohorts}
    of_cohorts = max((kind.bytes or 0 for kind in kinds), default=0)
    fresh = min((found for own in probes for found in own), key=lambda found: found.start)  # a worker's first cohort
    cuda, start = torch.device(job.device).type == "cuda", before + fresh.start
    return Estimate(
        tuple(kinds), workers, start,
        wall=list_schedule([seconds[cohort.name] for cohort in cohorts], workers, start),
        busy=workers * fresh.start + sum(seconds.values()),
        process=fresh.base if cuda else fresh.base + of_cohorts,
        device=data_bytes(dataset) + of_cohorts if cuda else None,
    )  # fmt: skip


@cache
def _begun() -> float:
    """Seconds that this process had worked before its first estimate: a call that trains takes the same."""
    return time.process_time()


def list_schedule(seconds: Iterable[float], workers: int, start: float) -> float:
    """When the last task is done, each being taken up by the worker that is free first; all are free from `start`."""
    free = [start] * workers
    for task in seconds:
        heapq.heapreplace(free, free[0] + task)
    return max(free)


def _kinds(cohorts: Sequence[Cohort], dataset: Dataset) -> list[list[Cohort]]:
    groups: dict[tuple[str, int], list[Cohort]] = {}
    for cohort in cohorts:
        groups.setdefault((shape_of(cohort.runs[0], dataset), len(cohort.runs)), []).append(cohort)
    return list(groups.values())


def _probes(cohorts: Sequence[Cohort], job: Job, processes: int) -> list[list[Probe]]:
    """What was measured of each cohort, at least once.

    As many at the same time as will train: cores that are all busy slow each other down.
    """
    order = [index % len(cohorts) for index in range(max(len(cohorts), processes))]
    found = in_processes(probe, [(cohorts[index], job) for index in order], processes)
    if found is None:
        raise UsageError("a worker was killed while it tried a few steps, maybe for lack of memory: lower --cohort.")
    return [[one for place, one in zip(order, found, strict=True) if place == index] for index in range(len(cohorts))]


def _kind(cohorts: Sequence[Cohort], probes: Sequence[Probe], dataset: Dataset, device: str) -> Kind:
    runs, executor = cohorts[0].runs, probes[0].executor
    needed = footprint(variant_of(runs[0], dataset))
    captured = torch.device(device).type == "cuda"
    memory = None if needed is None else needed.of_cohort(len(runs), executor == "vmap", captured)
    seconds = statistics.fmean(found.seconds for found in probes)
    return Kind(tuple(cohorts), executor, seconds, probes[0].timed, memory)
