"""What trackers are given, read back with their own readers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.grid import Run
from bench.reporting import trackers
from bench.reporting.trackers import check, tracking
from bench.store import Curve, Record, Store

RUN: dict[str, Any] = {
    "id": "0123456789abcdef", "variant": "fm", "version": 1, "dataset": "digits", "dataset_hash": "d",
    "protocol": "common", "recipe": {"lr": 0.25, "classifier": [64, 32], "epochs": None, "network": "mlp"},
    "overrides": {}, "budget": 20, "selection": "balanced", "seed": 3, "steps": 100, "validation": 40,
}  # fmt: skip
# Of 500 test and 40 validation images; accuracies in percent are 100 - 100 * wrong / images.
CURVE: dict[str, Any] = {
    "steps": [50, 100], "seconds": [10.0, 25.0], "raw": [100, 50], "ema": [200, 25], "validation_raw": [10, 4],
    "validation_ema": [20, 2], "logs": {"generator/loss": [1.5, None], "d/real": [0.25, 0.125]},
}  # fmt: skip
EXPECTED = {
    "error/raw": [(50, 20.0), (100, 10.0)], "accuracy/raw": [(50, 80.0), (100, 90.0)],
    "error/ema": [(50, 40.0), (100, 5.0)], "accuracy/ema": [(50, 60.0), (100, 95.0)],
    "validation_error/raw": [(50, 25.0), (100, 10.0)], "validation_accuracy/raw": [(50, 75.0), (100, 90.0)],
    "validation_error/ema": [(50, 50.0), (100, 5.0)], "validation_accuracy/ema": [(50, 50.0), (100, 95.0)],
    "training/generator/loss": [(50, 1.5)], "training/d/real": [(50, 0.25), (100, 0.125)],
}  # fmt: skip
NAMES = ["<img src=x onerror=alert(1)>", "bad_gan", "50%", "$x^2$", "../../up", "/root", "..", "ü" * 300]


def _record(curve: dict[str, Any] | None = None, **changed: Any) -> Record:
    return Record(
        run=Run(**RUN | changed), status="done", test_images=500, validation_images=40, curve=Curve(**curve or CURVE)
    )


def _log(name: str, store: Store, *records: Record) -> str:
    said = list[str]()
    with tracking(name, store, said.append) as write:
        write(records)
    return "\n".join(said)


@pytest.fixture
def read_tensorboard() -> Callable[[Path], Any]:
    """The accumulator of the one event file below a folder."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")

    def read(folder: Path) -> Any:
        (file,) = folder.rglob("events.*")
        return reader.EventAccumulator(str(file)).Reload()

    return read


def test_tensorboard_has_every_curve(tmp_path: Path, read_tensorboard: Callable[[Path], Any]) -> None:
    before = time.time()
    said = _log("tensorboard", Store(tmp_path), _record())
    folder = tmp_path / ".tensorboard"
    assert "1 runs" in said
    assert f"tensorboard --logdir {folder}" in said
    events = read_tensorboard(folder / "digits/fm/common+v40/20-labels/seed-3/0123456789abcdef")
    assert {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]} == EXPECTED
    first, last = events.Scalars("error/raw")
    assert last.wall_time - first.wall_time == pytest.approx(15)
    assert before <= last.wall_time <= time.time()
    assert events.Tensors("status/text_summary")[0].tensor_proto.string_val == [b"done"]


def test_tensorboard_has_the_recipe_and_the_facts(tmp_path: Path, read_tensorboard: Callable[[Path], Any]) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    _log("tensorboard", Store(tmp_path), _record())
    metadata = read_tensorboard(tmp_path / ".tensorboard").summary_metadata["_hparams_/session_start_info"]
    found = HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info.hparams
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in found.items()}
    assert values["recipe/lr"] == 0.25
    assert values["recipe/classifier"] == "[64, 32]"
    assert (values["seed"], values["budget"], values["status"], values["dataset"]) == (3, 20, "done", "digits")
    assert values["recipe/epochs"] == "null"


@pytest.mark.parametrize("name", NAMES)
def test_tensorboard_stays_in_its_folder(name: str, tmp_path: Path, read_tensorboard: Callable[[Path], Any]) -> None:
    curve = CURVE | {"logs": {name: [1.0, 2.0]}}
    _log("tensorboard", Store(tmp_path / "runs"), _record(curve, variant=name, protocol=name, dataset=name))
    (file,) = tmp_path.rglob("events.*")
    parts = file.relative_to(tmp_path / "runs" / ".tensorboard").parts
    assert len(parts) == 7
    assert not set("<>%$") & set("".join(parts))
    (tag,) = [tag for tag in read_tensorboard(tmp_path).Tags()["scalars"] if tag.startswith("training/")]
    assert not set("<>%$") & set(tag)


@pytest.mark.slow  # it makes its database first
def test_mlflow_has_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking_of = pytest.importorskip("mlflow.tracking", reason="needs mlflow")
    pytest.importorskip("sqlalchemy", reason="MLflow's local database needs it")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trackers, "MOST_METRICS", 4)  # at once, of 18
    long = {"steps": [*range(9)], "seconds": [float(s) for s in range(9)], "raw": [*range(9)]}
    recipe = {f"field{i}": i for i in range(120)}  # MLflow itself takes 100 at once
    failed = Record(run=Run(**RUN | {"id": "2" * 16}), status="failed", reason="no luck")
    said = _log(
        "mlflow", Store(tmp_path), _record(), _record(long, id="1" * 16, recipe=recipe, variant=NAMES[0]), failed
    )
    uri = f"sqlite:///{tmp_path}/.mlflow/mlflow.db"
    assert "3 runs" in said
    assert f"mlflow ui --backend-store-uri {uri}" in said
    client = tracking_of.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("ssgan-bench").experiment_id
    runs = {run.info.run_name.rsplit("/", 1)[1]: run for run in client.search_runs([experiment])}
    first, second, third = (runs[name] for name in (RUN["id"], "1" * 16, "2" * 16))
    history = {name: client.get_metric_history(first.info.run_id, name) for name in first.data.metrics}
    assert {name: [(m.step, m.value) for m in points] for name, points in history.items()} == EXPECTED
    assert history["error/raw"][1].timestamp - history["error/raw"][0].timestamp == 15_000
    assert first.info.run_name == "digits/fm/common+v40/20-labels/seed-3/0123456789abcdef"
    assert (first.data.params["recipe/lr"], first.data.params["budget"]) == ("0.25", "20")
    assert len(client.get_metric_history(second.info.run_id, "error/raw")) == 9
    assert len(second.data.params) == 120 + 12
    assert [run.data.tags["status"] for run in (first, second, third)] == ["done", "done", "failed"]
    assert [run.info.status for run in (first, second, third)] == ["FINISHED", "FINISHED", "FAILED"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow"]


def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="needs mlflow")
    pytest.importorskip("sqlalchemy", reason="MLflow's local database needs it")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_URI") as error:
        _log("mlflow", Store(tmp_path), _record())
    assert "secret" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_what_check_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"'tensorbord'. Did you mean 'tensorboard'\? Allowed: mlflow, tensorboard"):
        check("tensorbord")
    monkeypatch.setitem(trackers.PACKAGES, "mlflow", ("bench", "no_such_package"))  # type: ignore[index]
    with pytest.raises(UsageError, match=r"needs no_such_package: install with pip install 'ssgan-bench\[mlflow\]'"):
        check("mlflow")


def test_one_warning_when_a_tracker_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[str]()

    class Full:
        def __init__(self, store: Store) -> None: ...

        def write(self, record: Record) -> None:
            tried.append(record.id)
            if len(tried) == 2:
                raise OSError("no space left on http://me:secret@here")

        def where(self) -> str:
            return "nowhere"

    monkeypatch.setattr(trackers, "OPEN", {"tensorboard": Full})
    monkeypatch.setattr(trackers, "PACKAGES", {"tensorboard": ()})
    said = list[str]()
    with tracking("tensorboard", Store(tmp_path), said.append) as write:
        for number in range(4):
            write([_record(id=str(number))])
    assert tried == ["0", "1"]
    warning, last = said
    assert "no space left on http://here" in warning
    assert last.strip() == "1 runs that were trained now are logged nowhere"


def test_no_tracker_is_nothing(tmp_path: Path) -> None:
    with tracking(None, Store(tmp_path), lambda text: pytest.fail(text)) as write:
        write([_record()])
    assert not list(tmp_path.iterdir())
