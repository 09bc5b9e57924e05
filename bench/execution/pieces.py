"""How long a part of a suite will take, and which length of its schedule fits into one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.datasets import Dataset
from bench.execution.cohorts import Cohort, DataSource, shape_of
from bench.execution.estimate import estimate, list_schedule
from bench.execution.pools import Pool
from bench.execution.rounds import cohorts_of
from bench.execution.worker import Job
from bench.grid import Run
from bench.store import Store

SCALES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
START = 10.0  # seconds until worker processes have begun
MARGIN = 1.2  # a few steps are measured, and the machine may be slower later
SHARE = 0.7  # of a call, for a schedule that is chosen to fit: data are loaded and steps measured besides


class Estimates:
    """Seconds for what is missing of some runs. What was measured once is not measured again."""

    def __init__(self, store: Store, pool: Pool, size: int | None, job_of: Callable[[DataSource], Job]) -> None:
        """`size`: of the largest cohort; None: by rule."""
        self.store, self.pool, self.size, self.job_of = store, pool, size, job_of
        self.measured: dict[tuple[str, str, int], float] = {}

    def __call__(self, runs: Sequence[Run], dataset: Dataset, source: DataSource) -> float:
        """
        Raises:
            UsageError: a variant's own code fails, or kills the worker.
        """
        cohorts = self._missing(runs, dataset)
        for cohort in cohorts:
            if (key := self._key(cohort, dataset)) not in self.measured:
                at_once = min(self.pool.jobs, len(cohorts))  # as many as will train together
                found = estimate([cohort], dataset, self.job_of(source), 1, at_once)
                self.measured[key] = found.kinds[0].seconds
        return self._together(cohorts, dataset)

    def known(self, runs: Sequence[Run], dataset: Dataset) -> float | None:
        """The same, without measuring; None where that would be needed."""
        cohorts = self._missing(runs, dataset)
        if any(self._key(cohort, dataset) not in self.measured for cohort in cohorts):
            return None
        return self._together(cohorts, dataset)

    def _missing(self, runs: Sequence[Run], dataset: Dataset) -> list[Cohort]:
        standings = self.store.standings(runs)
        missing = [run for run in runs if not standings[run.id].settled]
        return cohorts_of(missing, dataset, self.store, self.pool.device, self.pool.jobs, self.size)

    def _together(self, cohorts: Sequence[Cohort], dataset: Dataset) -> float:
        if not cohorts:
            return 0.0
        each = [MARGIN * self.measured[self._key(cohort, dataset)] for cohort in cohorts]
        return list_schedule(each, min(self.pool.jobs, len(cohorts)), START)

    def _key(self, cohort: Cohort, dataset: Dataset) -> tuple[str, str, int]:
        """What makes cohorts cost the same: for most methods the number of labels does not matter."""
        return shape_of(cohort.runs[0], dataset), dataset.content_hash, len(cohort.runs)


def longest(seconds: Callable[[float], float], limit: float) -> float:
    """The largest of `SCALES` whose time fits into a call of `limit` seconds; the smallest where none does.

    Args:
        seconds: for a scale. It is asked for two of them, as time grows in proportion to steps.
    """
    least, whole = seconds(SCALES[-1]), seconds(1.0)
    slope = (whole - least) / (1.0 - SCALES[-1])
    fitting = (s for s in SCALES if least + slope * (s - SCALES[-1]) <= SHARE * limit)
    return next(fitting, SCALES[-1])
