"""Stopping, resuming, and running out of memory or disk: nothing is lost, and no bit changes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.datasets import Dataset
from bench.errors import UsageError
from bench.execution import Cohort, launch, rounds, stopping, worker
from bench.execution.pools import Processes
from bench.execution.rounds import cohorts_of
from bench.execution.stopping import Flag, Orders
from bench.execution.worker import Job, work
from bench.grid import Run
from bench.store import StorageError, Store
from bench.training.trainer import Trainer

MakeRuns = Callable[..., list[Run]]
STEPS = 12


@pytest.fixture
def runs(make_runs: MakeRuns) -> list[Run]:
    return make_runs("calm", labels="20,30", seeds="2", steps=STEPS)


@pytest.fixture
def expected(job: Job, runs: list[Run], tmp_path: Path) -> list[str]:
    """What every run comes to without interruption: content and losses, as text."""
    plain = dataclasses.replace(job, results=tmp_path / "uninterrupted")
    Store(plain.results).folder.make()
    work(Cohort("whole", tuple(runs)), plain)
    return outcome(plain, runs)


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job) -> Callable[[int], Job]:
    """A job whose flag is raised after so many of a trainer's steps."""
    monkeypatch.setattr(stopping, "PATIENCE", 0.0)
    step = Trainer.step

    def at(number: int) -> Job:
        flag = tmp_path / f"stop-{number}"

        def stepping(self: Trainer) -> None:
            step(self)
            if self.at == number:
                flag.touch()

        monkeypatch.setattr(Trainer, "step", stepping)
        return dataclasses.replace(job, orders=Orders(flag=Flag(str(flag.parent), flag.name)))

    return at


def outcome(job: Job, runs: list[Run]) -> list[str]:
    records = [Store(job.results).get(run.id) for run in runs]
    return [json.dumps([r.content(), r.curve.logs if r.curve else None, r.status]) for r in records]


def events(job: Job, name: str) -> list[dict]:
    return Store(job.results).journal(name).read()[0]


def in_cohorts(job: Job, *cohorts: list[Run]) -> None:
    for runs in cohorts:
        work(Cohort("-".join(run.id for run in runs)[:60], tuple(runs)), job)


def test_stopped_again_and_again_in_other_cohorts_no_bit_changes(
    job: Job, runs: list[Run], expected: list[str], stop_at: Callable[[int], Job]
) -> None:
    a, b, c, d = runs
    store = Store(job.results)
    in_cohorts(stop_at(3), [a, b, c])
    assert [store.checkpoints.steps(run.id) for run in runs] == [[3], [3], [3], []]
    assert list(store.records()) == []
    in_cohorts(stop_at(7), [c, a])
    in_cohorts(stop_at(9), [d, b, c])  # after 0, 3 and 7 steps: apart, one after the other; the first of them stops all
    steps = [store.checkpoints.steps(run.id)[0] for run in runs]
    assert len(set(steps)) == 3
    in_cohorts(job, [a, b, c, d])
    assert outcome(job, runs) == expected
    assert [record.provenance["resumed_at"] for record in map(store.get, (a.id, b.id))] == [[3, 7], [3]]
    assert all(not store.checkpoints.steps(run.id) for run in runs)


def test_a_spoilt_checkpoint_is_said_and_costs_only_time(
    job: Job, runs: list[Run], expected: list[str], stop_at: Callable[[int], Job]
) -> None:
    in_cohorts(dataclasses.replace(stop_at(6), checkpoint_every=0.0), runs)
    folder = Store(job.results).folder.root / ".checkpoints" / runs[1].id
    assert [path.name for path in sorted(folder.iterdir())] == ["0000000005.ckpt", "0000000006.ckpt"]
    os.truncate(folder / "0000000006.ckpt", 5000)
    work(Cohort("again", tuple(runs)), job)
    assert outcome(job, runs) == expected
    (warning,) = [event["text"] for event in events(job, "again") if event["event"] == "warning"]
    assert f"{runs[1].id}: checkpoint 0000000006.ckpt is damaged" in warning
    assert "goes on from step 5" in warning
    records = [Store(job.results).get(run.id) for run in runs]
    assert [record.provenance["resumed_at"] for record in records] == [[6], [5], [6], [6]]


def test_a_checkpoint_of_other_code_is_not_gone_on_from(
    job: Job, runs: list[Run], plugin: Path, stop_at: Callable[[int], Job]
) -> None:
    in_cohorts(stop_at(6), runs[:1])
    plugin.write_text(plugin.read_text() + "\n# changed\n")
    work(Cohort("again", tuple(runs[:1])), job)
    assert "was made by other code" in next(e["text"] for e in events(job, "again") if e["event"] == "warning")
    assert Store(job.results).get(runs[0].id).provenance["resumed_at"] == []


def test_a_checkpoint_that_does_not_fit_is_said_and_the_run_begins_again(
    job: Job, runs: list[Run], expected: list[str], stop_at: Callable[[int], Job]
) -> None:
    in_cohorts(stop_at(6), runs)
    checkpoints = Store(job.results).checkpoints
    found, _ = checkpoints.load(runs[0], worker.made_by("calm", job.plugins, job.device, "fp32"))
    assert found is not None
    del found.state["networks"]["classifier"]
    checkpoints.save(runs[0], 6, found.state, found.head.cohort, found.head.made_by)
    work(Cohort("again", tuple(runs)), job)
    assert outcome(job, runs) == expected
    (warning,) = [event["text"] for event in events(job, "again") if event["event"] == "warning"]
    assert "4 checkpoints do not fit their runs" in warning
    assert "start from step 0" in warning


def test_links_lead_no_writer_out_of_the_folder(job: Job, runs: list[Run], tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "elsewhere").mkdir()
    (job.results / ".progress").mkdir()
    (job.results / ".progress" / "cohort.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(UsageError, match="leads out of the results folder"):
        work(Cohort("cohort", tuple(runs)), job)
    assert (tmp_path / "victim").read_text() == "untouched"
    (job.results / "digits").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="leads out of the results folder"):
        work(Cohort("other", tuple(runs)), dataclasses.replace(job, save_weights=True))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_orders_of_every_kind_are_heard(tmp_path: Path) -> None:
    assert not Orders().given()
    assert Orders(deadline=0).given()
    assert not Orders(deadline=4e9, flag=Flag(str(tmp_path), "none"), parent=os.getpid()).given()
    assert not Orders(parent=os.getppid()).given()
    assert Orders(parent=2**22 + 1).given()  # no such process: the parent is gone
    (tmp_path / "flag").touch()
    assert Orders(flag=Flag(str(tmp_path), "flag")).given()


def test_the_first_signal_asks_and_a_later_one_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with stopping.interruptible(None, said.append) as orders:
        assert not orders.given()
        for _ in range(2):  # at once: one request
            os.kill(os.getpid(), signal.SIGTERM)
        assert orders.given()
        assert len(said) == 1
        monkeypatch.setattr(stopping, "SAME", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert orders.flag is not None
    assert not Path(orders.flag.root).exists()


def test_workers_elsewhere_see_the_flag_until_the_call_ends(tmp_path: Path) -> None:
    with stopping.interruptible(None, lambda text: None, shared=str(tmp_path)) as orders:
        assert orders.parent is None  # no process of theirs
        os.kill(os.getpid(), signal.SIGTERM)
        assert orders.given()
        assert len(list((tmp_path / ".stop").iterdir())) == 1
    assert list((tmp_path / ".stop").iterdir()) == []
    assert Orders(flag=Flag("s3://bucket/runs")).patience > Orders(flag=Flag(str(tmp_path))).patience


def test_nothing_begins_after_orders_to_stop(job: Job, runs: list[Run]) -> None:
    late = dataclasses.replace(job, orders=Orders(deadline=0))
    work(Cohort("late", tuple(runs)), late)
    assert events(job, "late") == [{"event": "stopped"}]
    assert list(Store(job.results).checkpoints.heads()) == []


def test_samples_are_those_of_an_uninterrupted_run(
    job: Job, make_runs: MakeRuns, stop_at: Callable[[int], Job], tmp_path: Path
) -> None:
    runs = make_runs("fm", seeds="2", steps=6, settings=["fm.evaluations=6", "fm.test_images=50"])
    plain = dataclasses.replace(job, results=tmp_path / "uninterrupted", samples=True)
    Store(plain.results).folder.make()
    in_cohorts(plain, runs)
    in_cohorts(dataclasses.replace(stop_at(3), samples=True), runs)
    in_cohorts(dataclasses.replace(job, samples=True), runs[::-1])
    for run in runs:
        found, expected = (
            load_file(Path(Store(j.results).where(Store(j.results).name(run))).with_suffix(".samples.safetensors"))
            for j in (job, plain)
        )
        assert found["steps"].tolist() == [1, 2, 3, 4, 5, 6]
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


# --- memory ---


def test_a_cohort_out_of_memory_is_halved_down_to_one(
    job: Job, runs: list[Run], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory suffices for one run; the cohort of four has come to step 6 when it is short."""
    prepare, step, tried = worker.prepare, Trainer.step, []

    def preparing(runs: list[Run], *rest: object) -> object:
        tried.append(len(runs))
        return prepare(runs, *rest)  # type: ignore[arg-type]

    def stepping(self: Trainer) -> None:
        if self.runs > 1 and self.at == 6:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")
        step(self)

    monkeypatch.setattr(worker, "prepare", preparing)
    monkeypatch.setattr(Trainer, "step", stepping)
    work(Cohort("big", tuple(runs)), dataclasses.replace(job, checkpoint_every=0.0))
    assert tried == [4, 2, 1, 1, 2, 1, 1]
    assert outcome(job, runs) == expected
    assert [e["text"] for e in events(job, "big") if e["event"] == "warning"] == [
        "out of memory with 4 runs together; tried again with 2",
        "out of memory with 2 runs together; tried again with 1",
        "out of memory with 2 runs together; tried again with 1",
    ]
    assert [Store(job.results).get(run.id).provenance["resumed_at"] for run in runs] == [[6]] * 4


def test_a_single_run_out_of_memory_has_failed_with_the_reason(
    job: Job, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stepping(self: Trainer) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Trainer, "step", stepping)
    work(Cohort("big", tuple(runs[:2])), job)
    for run in runs[:2]:
        record = Store(job.results).get(run.id)
        assert (record.status, record.reason) == (
            "failed", "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
        )  # fmt: skip


@pytest.mark.slow
def test_a_cohort_whose_worker_is_killed_is_halved_too(job: Job, make_runs: MakeRuns, tmp_path: Path) -> None:
    """As the system does when memory is short: nothing is raised, the process is gone."""
    runs = make_runs("greedy", seeds="3")
    launch([Cohort("greedy", tuple(runs))], job, Processes(torch.device("cpu"), 2))
    store = Store(job.results)
    assert [store.get(run.id).status for run in runs] == ["done"] * 3
    assert (tmp_path / "sizes").read_text().split() == ["3", "3", "2", "1", "1", "1"]


# --- the results folder ---


def test_a_folder_deleted_meanwhile_is_an_error_and_is_not_made_again(
    job: Job, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def stepping(self: Trainer) -> None:
        step(self)
        if self.at == 3:
            shutil.rmtree(job.results)

    monkeypatch.setattr(Trainer, "step", stepping)
    with pytest.raises(StorageError, match="was deleted or moved"):
        work(Cohort("lost", tuple(runs)), dataclasses.replace(job, checkpoint_every=0.0))
    assert not job.results.exists()


def test_an_error_of_the_disk_is_no_failure_of_the_run(
    job: Job, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.store.local.os.fsync", full)
    with pytest.raises(StorageError, match=r"No space left on device. What had finished before is stored"):
        work(Cohort("full", tuple(runs)), job)
    monkeypatch.undo()
    assert list(Store(job.results).records()) == []
    assert not list(job.results.rglob("*.tmp"))


# --- rounds ---


def test_cohorts_on_a_gpu_go_on_as_they_began(
    job: Job, runs: list[Run], digits: Dataset, stop_at: Callable[[int], Job]
) -> None:
    a, b, c, d = runs
    in_cohorts(stop_at(3), [c, a])
    store = Store(job.results)
    cuda, cpu = (
        [[run.id for run in cohort.runs] for cohort in cohorts_of(runs, digits, store, device, 1, None)]
        for device in (torch.device("cuda"), torch.device("cpu"))
    )
    assert cuda == [[c.id, a.id], [b.id, d.id]]
    assert cpu == [[run.id for run in runs]]


def test_rounds_end_when_all_is_settled_and_try_a_failure_once(
    job: Job, make_runs: MakeRuns, digits: Dataset, tmp_path: Path
) -> None:
    runs, store = make_runs("clumsy,calm", seeds="1"), Store(job.results)
    for repaired in (False, True):
        seen = []
        before = store.standings(runs)
        for cohorts in rounds(runs, digits, store, Processes(torch.device("cpu"), 1), None, Orders(), print, before):
            seen.append(sorted(run.variant for cohort in cohorts for run in cohort.runs))
            in_cohorts(job, *[list(cohort.runs) for cohort in cohorts])
        assert seen == [["clumsy"] if repaired else ["calm", "clumsy"]]
        (tmp_path / "repaired").touch()
    assert [store.get(run.id).status for run in runs] == ["done", "done"]
