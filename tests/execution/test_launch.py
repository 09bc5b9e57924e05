"""Cohorts in worker processes: same numbers however they are spread, and deaths cost nobody else anything."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.datasets import Dataset
from bench.execution import group, launch
from bench.execution.pools import Processes
from bench.execution.worker import Job
from bench.grid import Run
from bench.store import Store

MakeRuns = Callable[..., list[Run]]


def run_grid(job: Job, runs: list[Run], digits: Dataset, jobs: int = 2, size: int | None = None) -> dict[str, dict]:
    """Trains what is missing; the content of every stored run by id."""
    store = Store(job.results)
    store.folder.make()
    cohorts = group([run for run in runs if not store.has(run)], digits, torch.device("cpu"), jobs, size)
    launch(cohorts, job, Processes(torch.device("cpu"), jobs))
    return {run.id: store.get(run.id).content() for run in runs if (store.folder.root / store.name(run)).exists()}


def path_of(job: Job, run: Run) -> Path:
    store = Store(job.results)
    return Path(store.where(store.name(run)))


@pytest.mark.slow
def test_jobs_and_cohort_sizes_change_no_bit(job: Job, make_runs: MakeRuns, digits: Dataset, tmp_path: Path) -> None:
    runs = make_runs("calm,fm", labels="20,50", seeds="2", steps=5, settings=["fm.test_images=100", "fm.evaluations=1"])
    results = [
        run_grid(dataclasses.replace(job, results=tmp_path / f"r{i}"), runs, digits, jobs, size)
        for i, (jobs, size) in enumerate([(1, None), (2, 1), (2, 3)])
    ]
    assert len(results[0]) == 8
    assert all(content["status"] == "done" for content in results[0].values())
    for other in results[1:]:
        assert other == results[0]
    assert len({json.dumps(content["curve"]) for content in results[0].values()}) > 1


@pytest.mark.slow
def test_a_failure_in_a_worker_is_a_record_and_the_next_call_tries_again(
    job: Job, make_runs: MakeRuns, digits: Dataset, tmp_path: Path
) -> None:
    runs = make_runs("clumsy,calm", seeds="1")
    first = run_grid(job, runs, digits, jobs=1)
    assert [first[run.id]["status"] for run in runs] == ["failed", "done"]
    stamp = path_of(job, runs[1]).stat().st_mtime_ns
    (tmp_path / "repaired").touch()
    second = run_grid(job, runs, digits, jobs=1)
    assert [second[run.id]["status"] for run in runs] == ["done", "done"]
    assert path_of(job, runs[1]).stat().st_mtime_ns == stamp


def test_a_killed_worker_is_tried_again_once_and_succeeds(
    job: Job, make_runs: MakeRuns, digits: Dataset, tmp_path: Path
) -> None:
    runs = make_runs("mortal,calm", seeds="2")
    contents = run_grid(job, runs, digits)
    assert (tmp_path / "died").exists()
    assert [contents[run.id]["status"] for run in runs] == ["done"] * 4


@pytest.mark.slow
def test_a_cohort_that_always_dies_is_failed_and_the_others_are_complete(
    job: Job, make_runs: MakeRuns, digits: Dataset, tmp_path: Path
) -> None:
    runs = make_runs("doomed", seeds="1") + make_runs("calm", seeds="3")
    contents = run_grid(job, runs, digits, size=1)
    assert {run.variant: contents[run.id]["status"] for run in runs} == {"doomed": "failed", "calm": "done"}
    assert len(contents) == 4
    record = Store(job.results).get(runs[0].id)
    assert "killed, twice" in record.reason
    assert (tmp_path / "deaths").read_text() == "xx"
    (name,) = [c.name for c in group(runs[:1], digits, torch.device("cpu"), 1, 1)]
    assert Store(job.results).journal(name).read()[0][-1] == {
        "event": "finished", "runs": 1, "failed": 1
    }  # fmt: skip
