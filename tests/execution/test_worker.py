"""What a worker does with a cohort, in this process."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.datasets import Dataset, spread
from bench.errors import UsageError
from bench.execution import Cohort
from bench.execution.provenance import environment, source_hash
from bench.execution.worker import Job, Work, work
from bench.grid import Run
from bench.store import Record, Store
from bench.training.precision import DEFAULTS, Precision

MakeRuns = Callable[..., list[Run]]


def trained(job: Job, runs: list[Run], name: str = "cohort") -> list[Record]:
    work(Cohort(name, tuple(runs)), job)
    store = Store(job.results)
    return [store.get(run.id) for run in runs if (store.folder.root / store.name(run)).exists()]


def events(job: Job, name: str = "cohort") -> list[dict]:
    return Store(job.results).journal(name).read()[0]


def folder_of(job: Job, record: Record) -> Path:
    store = Store(job.results)
    return Path(store.where(store.name(record.run))).parent


def test_a_record_holds_what_was_measured(job: Job, make_runs: MakeRuns) -> None:
    runs = make_runs("calm")
    for run, record in zip(runs, trained(job, runs), strict=True):
        assert (record.run, record.status, record.reason) == (run, "done", "")
        assert record.curve is not None
        assert record.curve.steps == [2, 4, 6]
        assert record.curve.ema is not None
        assert len(record.curve.raw) == len(record.curve.ema) == len(record.curve.seconds) == 3
        assert list(record.curve.logs) == ["classifier/loss"]
        assert record.test_images == 100
        assert record.split is not None
        assert (record.split.labelled, record.split.labels_touched) == (20, 20)  # 6 steps of 8: more than a pass
        assert record.split.unlabelled == 1297 - 20
        provenance = record.provenance
        assert provenance["cohort"] == [other.id for other in runs]
        assert (provenance["executor"], provenance["threads"], provenance["device"]) == ("vmap", 1, "cpu")
        assert provenance["source"] == source_hash()
        assert provenance["packages"]["torch"] == version("torch")
        assert provenance["seconds"] > 0
    started, *steps, finished = events(job)
    assert (started["event"], started["runs"], started["steps"]) == ("started", 3, 6)
    assert {event["event"] for event in steps} == {"step"}
    assert steps[-1]["step"] == 6
    assert finished == {"event": "finished", "runs": 3, "failed": 0}


def test_a_run_is_trained_in_its_precision(job: Job, make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Precision, "__post_init__", lambda self: None)  # a CPU can compute in bf16, slowly
    (plain,), (rounded,) = (trained(job, make_runs("calm", seeds="1", precision=name)) for name in (None, "bf16"))
    assert (plain.provenance["precision"], rounded.provenance["precision"]) == ("fp32", "bf16")
    assert plain.curve is not None
    assert rounded.curve is not None
    losses = [record.curve.logs["classifier/loss"] for record in (plain, rounded)]
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_default_that_has_changed_is_for_runs_that_name_none(
    job: Job, make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEFAULTS, "cuda", "tf32")
    on_gpu = dataclasses.replace(job, device="cuda")
    made = {p: Work(Cohort("c", tuple(make_runs("calm", precision=p))), on_gpu).made_by for p in (None, "bf16")}
    assert [facts["precision"] for facts in made.values()] == ["tf32", "bf16"]
    assert "precision" not in Work(Cohort("c", tuple(make_runs("calm"))), job).made_by


def test_cohorts_of_any_size_give_the_same_content(job: Job, make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs("calm")
    together = trained(job, runs)
    alone = dataclasses.replace(job, results=tmp_path / "alone")
    Store(alone.results).folder.make()
    for run, record in zip(runs, together, strict=True):
        assert trained(alone, [run])[0].content() == record.content()
    assert len({json.dumps(record.content()["curve"]) for record in together}) == 3


def test_a_worker_that_raises_is_recorded_and_tried_again(job: Job, make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs("clumsy")
    for record in trained(job, runs):
        assert record.status == "failed"
        assert record.reason == "ValueError: no luck today"
        assert "trouble" in record.provenance["traceback"]
        assert record.curve is None
    assert events(job)[-1] == {"event": "finished", "runs": 3, "failed": 3}
    (tmp_path / "repaired").touch()
    assert [record.status for record in trained(job, runs)] == ["done"] * 3


def test_a_loss_that_reads_the_budget_fails_because_cohorts_may_mix_budgets(job: Job, make_runs: MakeRuns) -> None:
    (record,) = trained(job, make_runs("aware", seeds="1"))
    assert record.status == "failed"
    assert "NoneType" in record.reason


def test_running_again_trains_only_what_is_missing(job: Job, make_runs: MakeRuns) -> None:
    runs, store = make_runs("calm"), Store(job.results)
    before = trained(job, runs)
    (store.folder.root / store.name(runs[1])).unlink()
    stamps = {run.id: (store.folder.root / store.name(run)).stat().st_mtime_ns for run in (runs[0], runs[2])}
    after = trained(job, runs, "again")
    assert events(job, "again")[0]["runs"] == 1
    assert {run.id: (store.folder.root / store.name(run)).stat().st_mtime_ns for run in (runs[0], runs[2])} == stamps
    assert [record.content() for record in after] == [record.content() for record in before]
    work(Cohort("nothing", tuple(runs)), job)
    assert events(job, "nothing") == [{"event": "finished", "runs": 0}]


def test_a_run_that_another_process_holds_is_left_alone(job: Job, make_runs: MakeRuns) -> None:
    runs, store = make_runs("calm"), Store(job.results)
    with store.folder.hold(runs[1].id):
        records = trained(job, runs)
    assert [record.run for record in records] == [runs[0], runs[2]]
    assert events(job)[0]["runs"] == 2
    assert len(trained(job, runs)) == 3  # the lock is free again


def test_a_diverged_run_is_marked_with_its_step(job: Job, make_runs: MakeRuns) -> None:
    """Progress is 0, 1/6, 2/6, 3/6: not finite from step 3 on."""
    for record in trained(job, make_runs("wild")):
        assert (record.status, record.diverged_at) == ("diverged", 3)
        assert record.curve is not None
        assert record.curve.logs["classifier/loss"][-1] is None
    assert events(job)[-1]["failed"] == 3


def test_weights_and_logits_are_kept_on_request(job: Job, make_runs: MakeRuns, digits: Dataset) -> None:
    """With the weights that the accuracy is of: here the raw ones; and the logits are theirs."""
    runs = make_runs("calm", seeds="2")
    keeping = dataclasses.replace(job, save_weights=True, save_logits=True)
    for record in trained(keeping, runs):
        folder = folder_of(job, record)
        weights, logits = (load_file(folder / record.artefacts[kind]) for kind in ("weights", "logits"))
        assert {name: tuple(w.shape) for name, w in weights.items()} == {
            "classifier/layers.1.weight": (10, 64), "classifier/layers.1.bias": (10,)
        }  # fmt: skip
        images = digits.scale(digits.test_images[spread(digits.n_test, 100)]).flatten(1)
        expected = images @ weights["classifier/layers.1.weight"].T + weights["classifier/layers.1.bias"]
        assert torch.allclose(logits["logits"], expected, atol=1e-5)
        assert record.curve is not None
        assert int(digits.examiner.wrong(expected.argmax(1))) == record.curve.raw[-1]


def test_averaged_weights_are_kept_where_the_accuracy_is_theirs(job: Job, make_runs: MakeRuns, digits: Dataset) -> None:
    runs = make_runs("calm", seeds="1", settings=["calm.evaluate_with=ema"])
    (record,) = trained(dataclasses.replace(job, save_logits=True), runs)
    logits = load_file(folder_of(job, record) / record.artefacts["logits"])["logits"]
    assert record.curve is not None
    assert record.curve.ema is not None
    assert int(digits.examiner.wrong(logits.argmax(1))) == record.curve.ema[-1]


def test_environment_names_code_versions_and_machine() -> None:
    facts = environment()
    assert set(facts) == {"packages", "python", "platform", "processor", "mkl", "mkl_cbwr", "source", "git"}
    assert len(facts["source"]) == 16
    assert json.loads(json.dumps(facts)) == facts


def test_other_data_than_was_planned_for_are_refused(job: Job, make_runs: MakeRuns) -> None:
    """As on another machine, whose data folder holds something else by that name. It is no failure of the runs."""
    runs = [run.model_copy(update={"dataset_hash": "e" * 64}) for run in make_runs("calm")]
    with pytest.raises(UsageError, match=r"dataset 'digits' there has the content hash .* eeeeeeeeeeee is wanted"):
        work(Cohort("elsewhere", tuple(runs)), job)
    assert not list(Store(job.results).records())
