"""What `bench speed` says of a second worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from bench.execution import Cohort, DataSource
from bench.execution.worker import Job, work
from bench.speed import workers
from bench.speed.rounds import CPU

DIGITS = DataSource("digits", Path())


class Here:
    """Trains in this process; `lazy`: only the first cohort."""

    device, jobs = CPU, 1

    def __init__(self, lazy: bool = False) -> None:
        self.lazy = lazy

    def train(self, cohorts: Sequence[Cohort], job: Job, jobs: int) -> bool:
        for cohort in cohorts[: 1 if self.lazy else None]:
            work(cohort, job)
        return True


def test_cohorts_share_no_run() -> None:
    made = workers.cohorts(DIGITS, 2, 3)
    assert [len(cohort.runs) for cohort in made] == [15, 15]
    assert len({run.id for cohort in made for run in cohort.runs}) == 30
    assert {run.steps for cohort in made for run in cohort.runs} == {3}


def test_run_steps_are_counted() -> None:
    start = time.perf_counter()
    rate = workers.trained(Here(), 1, workers.cohorts(DIGITS, 2, 2), DIGITS)
    assert 2 * 15 * 2 / rate <= time.perf_counter() - start


def test_runs_that_are_missing_are_no_throughput() -> None:
    with pytest.raises(RuntimeError, match="did not train all runs"):
        workers.trained(Here(lazy=True), 1, workers.cohorts(DIGITS, 2, 1), DIGITS)


def test_rounds_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"a": {1: Here(), 2: Here()}}
    calls: list[tuple[int, int]] = []

    def trained(pool: Here, jobs: int, work: Sequence[Cohort], data: DataSource) -> float:
        calls.append((jobs, work[0].runs[0].steps))
        return float(len(calls))

    monkeypatch.setattr(workers, "pools", lambda: nullcontext(there))
    monkeypatch.setattr(workers, "trained", trained)
    assert workers.rates(2, steps=7) == {"a": {1: [3.0, 5.0], 2: [4.0, 6.0]}}
    warm = workers.WARM_UP
    assert calls == [(1, warm), (2, warm), (1, 7), (2, 7), (1, 7), (2, 7)]


@pytest.mark.parametrize(("two", "verdict"), [([20.0, 18.0], "met"), ([15.0, 15.0], "missed")])
def test_the_gain_is_judged(two: list[float], verdict: str) -> None:
    text = workers.section({"a": {1: [10.0, 10.0], 2: two}})
    assert text.splitlines()[-1].split("|")[5].strip() == verdict
