"""Where cohorts are trained: processes of this machine. (`cluster` has those of others.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from joblib import Parallel, delayed
from joblib.externals.loky import BrokenProcessPool

from bench.execution.cohorts import Cohort
from bench.execution.stopping import ignore_signals
from bench.execution.worker import Job, work

T = TypeVar("T")


class Pool(Protocol):
    """Workers that train cohorts."""

    device: torch.device

    @property
    def jobs(self) -> int:
        """Cohorts that train at the same time."""

    def train(self, cohorts: Sequence[Cohort], job: Job, jobs: int) -> bool:
        """Trains cohorts, at most so many at a time; False when a worker was killed.

        Raises:
            UsageError: a worker cannot do what it is asked to, or the workers are gone.
        """

    def __str__(self) -> str:
        """What it is, for a message."""


class Processes:
    """Worker processes of this machine."""

    def __init__(self, device: torch.device, jobs: int) -> None:
        self.device, self.count = device, jobs

    @property
    def jobs(self) -> int:
        return self.count

    def train(self, cohorts: Sequence[Cohort], job: Job, jobs: int) -> bool:
        return in_processes(work, [(cohort, job) for cohort in cohorts], jobs) is not None

    def __str__(self) -> str:
        return f"{self.jobs} worker processes"


def in_processes(function: Callable[..., T], calls: Sequence[tuple[Any, ...]], jobs: int) -> list[T] | None:
    """What the calls give, at most so many of them at a time, each in a worker process; None when one was killed."""
    try:
        # with n_jobs=1 joblib would call it in this process, which must survive: two workers, and one call in flight
        return list(
            Parallel(
                n_jobs=max(2, min(jobs, len(calls))), backend="loky", batch_size=1, pre_dispatch=jobs,
                initializer=ignore_signals,
            )(delayed(function)(*call) for call in calls)
        )  # fmt: skip
    except BrokenProcessPool:
        return None
