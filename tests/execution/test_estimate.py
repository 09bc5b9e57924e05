"""The arithmetic of an estimate, its words, and that it writes nothing; nothing depends on how long things take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.datasets import Dataset
from bench.errors import UsageError
from bench.execution import Cohort, dry_run, estimate, group
from bench.execution import probe as probing
from bench.execution.dry_run import describe_grid, kind_line, too_much, total_line, whole_line
from bench.execution.estimate import Estimate, Kind, list_schedule
from bench.execution.probe import PhaseTimes, Probe, probe
from bench.execution.worker import Job
from bench.grid import Run

MakeRuns = Callable[..., list[Run]]
MIB = 2**20
CPU = torch.device("cpu")
TWO = (
    PhaseTimes(steps=300, warm=1, written=100, first=5.0, step=0.5, later=0.25),
    PhaseTimes(steps=50, warm=1, written=50, first=2.0, step=1.0, later=1.0),
)
PROBE = Probe(4.0, 300 * MIB, "vmap", 1.0, TWO, evaluation=0.5, evaluations=10, runs=3, timed=3)


@pytest.mark.parametrize(
    ("phase", "seconds"),
    [
        (TWO[0], 5 + 99 * 0.5 + 200 * 0.25),
        (TWO[1], 2 + 49 * 1.0),
        (PhaseTimes(steps=300, warm=1, written=0, first=5.0, step=0.5, later=0.25), 5 + 299 * 0.25),
        (PhaseTimes(steps=300, warm=8, written=300, first=5.0, step=0.5, later=0.5), 5 + 292 * 0.5),
        (PhaseTimes(steps=1, warm=1, written=1, first=5.0, step=5.0, later=5.0), 5.0),
    ],
)
def test_seconds_of_a_phase(phase: PhaseTimes, seconds: float) -> None:
    assert phase.seconds == pytest.approx(seconds)


def test_seconds_of_a_cohort_are_those_of_setup_phases_and_evaluations() -> None:
    whole = 1 + (5 + 49.5 + 50) + (2 + 49) + 10 * 0.5
    assert PROBE.seconds == pytest.approx(whole)
    assert replace(PROBE, timed=1).seconds == pytest.approx(3 * whole)


def test_each_cohort_goes_to_the_worker_that_is_free_first() -> None:
    assert list_schedule([5, 4, 3, 2], workers=2, start=1.0) == 1 + 7  # 5 and 2, 4 and 3
    assert list_schedule([5, 4, 3, 2], workers=1, start=1.0) == 1 + 14
    assert list_schedule([1, 9], workers=4, start=0.0) == 9


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[Cohort]:
    """Answers of probes without any work: 10, 20, 30, ... seconds. Those that were asked for are remembered."""
    asked: list[Cohort] = []

    def answers(function: Any, calls: list[tuple[Cohort, Job]], jobs: int) -> list[Probe]:
        assert function is probe
        asked.extend(cohort for cohort, _ in calls)
        phases = [(PhaseTimes(1, 1, 1, 10.0 * (i + 1), 0.0, 0.0),) for i in range(len(calls))]
        return [Probe(4.0 + i, (300 + i) * MIB, "vmap", 0.0, own, 0.0, 1, 2, 2) for i, own in enumerate(phases)]

    monkeypatch.setattr(estimate, "in_processes", answers)
    return asked


def test_cohorts_of_a_kind_are_measured_once(
    job: Job, make_runs: MakeRuns, digits: Dataset, probed: list[Cohort]
) -> None:
    runs = make_runs("calm", labels="20,50", seeds="3") + make_runs("wild", seeds="2")
    cohorts = group(runs, digits, CPU, 1, 2)
    assert sorted(len(c.runs) for c in cohorts) == [2, 2, 2, 2]
    found = estimate.estimate(cohorts, digits, job, workers=2, processes=2)
    assert [c.runs[0].label for c in probed] == [k.cohorts[0].runs[0].label for k in found.kinds]
    assert sorted((len(k.cohorts), k.cohorts[0].runs[0].label) for k in found.kinds) == [(1, "wild"), (3, "calm")]
    seconds = sum(len(kind.cohorts) * kind.seconds for kind in found.kinds)
    assert found.busy == 2 * 4 + seconds
    of_cohort = max(kind.bytes or 0 for kind in found.kinds)
    assert found.process == 300 * MIB + of_cohort
    assert found.device is None


def test_all_workers_measure_at_the_same_time(
    job: Job, make_runs: MakeRuns, digits: Dataset, probed: list[Cohort]
) -> None:
    cohorts = group(make_runs("calm", seeds="4"), digits, CPU, 1, 2)
    found = estimate.estimate(cohorts, digits, job, workers=2, processes=2)
    assert len(probed) == 2
    assert [kind.seconds for kind in found.kinds] == [15.0]  # the mean of 10 and 20


@pytest.mark.slow  # processes begin anew
def test_a_worker_that_is_killed_is_no_traceback(job: Job, make_runs: MakeRuns, digits: Dataset) -> None:
    cohorts = group(make_runs("doomed"), digits, CPU, 1, None)
    with pytest.raises(UsageError, match=r"killed while it tried a few steps.*--cohort"):
        estimate.estimate(cohorts, digits, job, 1, 1)


def test_words(make_runs: MakeRuns, plugin: Any) -> None:
    cohorts = tuple(Cohort(str(i), tuple(make_runs("calm", seeds="3"))) for i in range(2))
    kind = Kind(cohorts, "loop", 100.0, 1, 300 * MIB)
    assert kind_line(kind) == (
        "  calm, common, 20 labels: 2 cohorts x 3 runs (loop): each about 2 min, timed on 1 run and 300 MiB"
    )
    assert kind_line(Kind(cohorts[:1], "vmap", 5.0, 3, None)).endswith(
        "1 cohort x 3 runs (vmap): each about 5 s and unknown memory"
    )
    on_cpu = Estimate((kind,), 2, 20.0, 7200.0, 3.6 * 3600, 600 * MIB, None)
    assert total_line(on_cpu) == (
        "Estimate: about 2.0 h in all, if 2 cores are free; 3.6 core hours; at most 600 MiB per "
        "worker, 1.2 GiB for all."
    )
    assert "0.5 GPU hours" in total_line(replace(on_cpu, busy=1800.0, device=2048 * MIB))
    assert "and 4.0 GiB of the GPU." in total_line(replace(on_cpu, device=2048 * MIB))


def test_grids_that_follow_each_other_begin_once() -> None:
    first, second = Estimate((), 2, 20.0, 3620.0, 7200.0, 0, None), Estimate((), 1, 30.0, 3630.0, 3600.0, 0, None)
    assert whole_line([first, second]) == ("All 2 grids with something to train: about 2.0 h in all; 3 core hours.")


def test_half_of_a_cohort_is_measured_where_memory_is_short(
    job: Job, make_runs: MakeRuns, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def short(runs: Any, *rest: Any) -> Any:
        tried.append(len(runs))
        if len(runs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(runs, *rest)

    real = probing.prepare
    monkeypatch.setattr(probing, "prepare", short)
    found = probe(Cohort("calm", tuple(make_runs("calm", seeds="6"))), job)
    assert (found.runs, found.timed) == (6, 2)
    assert tried[:3] == [6, 3, 2]


def test_more_than_is_free_is_said() -> None:
    assert list(too_much({"memory": 5}, {"memory": 5})) == []
    assert list(too_much({"memory": 5}, {"memory": None})) == []
    (text,) = too_much({"memory": 900 * MIB}, {"memory": 512 * MIB})
    assert text == "That is more memory than is free here (512 MiB): lower --cohort or --jobs."


def test_a_small_machine_is_told(
    job: Job, make_runs: MakeRuns, digits: Dataset, probed: list[Cohort], monkeypatch: pytest.MonkeyPatch
) -> None:
    cohorts = group(make_runs("calm"), digits, CPU, 1, None)
    monkeypatch.setattr(dry_run, "free_memory", lambda: 200 * MIB)
    assert "more memory than is free" in describe_grid([], cohorts, digits, job, 1)[0]
    assert "more memory than is free" not in describe_grid([], cohorts, digits, job, 1, processes=1)[0]  # a cluster's


def test_free_memory_comes_from_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4000 kB\n")
    monkeypatch.setattr(dry_run, "MEMORY", tmp_path / "meminfo")
    assert dry_run.free_memory() == 4_096_000
    monkeypatch.setattr(dry_run, "MEMORY", tmp_path / "nothing")
    assert dry_run.free_memory() is None


def test_grid_and_cohorts_are_named(job: Job, make_runs: MakeRuns, digits: Dataset, probed: list[Cohort]) -> None:
    runs = make_runs("calm", labels="20,50")
    text, found = describe_grid(runs, group(runs[:4], digits, CPU, 1, 3), digits, job, 2)
    assert found is not None
    assert "6 runs on digits, 4 of them to train" in text
    assert "calm, common: 50 labels, 6 steps, 3 seeds" in text
    assert "2 cohorts on cpu with 2 workers" in text
    assert text.count("calm, common, 20,50 labels: 2 cohorts x 2 runs (vmap): each about") == 1
    assert "core hours" in text
    text, found = describe_grid(runs, [], digits, job, 2)
    assert "nothing is left to train" in text
    assert found is None


def test_a_probe_goes_into_every_phase_and_writes_losses_out(job: Job, make_runs: MakeRuns, digits: Dataset) -> None:
    found = probe(Cohort("calm", tuple(make_runs("calm", steps=240))), job)
    assert [(p.steps, p.written) for p in found.phases] == [(240, 100)]
    assert (found.executor, found.timed, found.evaluations) == ("vmap", 3, 3)
    short = probe(Cohort("triple", tuple(make_runs("triple", steps=20))), job)
    assert [(p.steps, p.written) for p in short.phases] == [(10, 10), (10, 10)]
    wide = ["fm.classifier=[1000,1000]"]
    large = probe(Cohort("fm", tuple(make_runs("fm", protocol="paper", settings=wide, steps=120))), job)
    assert (large.executor, large.runs, large.timed) == ("loop", 3, 1)
    assert [(p.steps, p.written) for p in large.phases] == [(120, 34)]  # 34 steps of three runs call a loss 102 times
