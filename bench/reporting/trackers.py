"""Curves for experiment trackers: `bench run --log` writes each run there as soon as its record is stored."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bench.analysis.runs import protocol_label
from bench.errors import UsageError, printable, shorten, unknown
from bench.store import Record, Store
from bench.store.local import LocalFolder

EXPERIMENT = "ssgan-bench"  # MLflow's name for a set of runs
LONGEST = 500  # characters of a parameter in any tracker
MOST_METRICS, MOST_PARAMS = 1000, 100  # that MLflow takes at once


class Point(NamedTuple):
    """One number of a curve."""

    name: str
    value: float
    step: int
    seconds: float  # of training so far


class Tracker(Protocol):
    """Something that shows curves."""

    def write(self, record: Record) -> None: ...

    def where(self) -> str:
        """Where the runs are, and the command that shows them."""


def check(name: str) -> None:
    """
    Raises:
        UsageError: no such tracker, or its packages are not installed.
    """
    if name not in PACKAGES:
        raise unknown("tracker in --log", name, PACKAGES)
    if missing := [package for package in PACKAGES[name] if find_spec(package) is None]:
        raise UsageError(f"--log {name} needs {', '.join(missing)}: install with pip install 'ssgan-bench[{name}]'.")


@contextmanager
def tracking(
    name: str | None, store: Store, say: Callable[[str], None]
) -> Iterator[Callable[[Sequence[Record]], None]]:
    """Gives what writes records to the tracker; says at the end where they are. No name: nothing is written.

    A tracker that fails is given up with one warning: training goes on.

    Raises:
        UsageError: no such tracker, its packages are not installed, or it cannot be reached.
    """
    if name is None:
        yield lambda records: None
        return
    check(name)
    tracker, written, failed = OPEN[name](store), 0, False

    def write(records: Sequence[Record]) -> None:
        nonlocal written, failed
        try:
            for record in () if failed else records:
                tracker.write(record)
                written += 1
        except Exception as error:  # a full disk, a server that is gone: whatever it is, it is not the training's
            failed = True
            say(f"--log {name} has failed, no further run is logged: {_without_secrets(error)}")

    try:
        yield write
    finally:
        say(f"\n{written} runs that were trained now are logged {tracker.where()}")


def title(record: Record) -> str:
    """`dataset/variant/protocol/20-labels/seed-0/id`, each part fit to be the name of a folder."""
    run = record.run
    parts = [run.dataset, run.label, protocol_label(run), f"{run.budget}-labels", f"seed-{run.seed}", run.id]
    return "/".join(re.sub(r"[^A-Za-z0-9._@+=-]+", "-", part)[-80:].strip(".-") or "unnamed" for part in parts)


def parameters(record: Record) -> dict[str, str | int | float | bool]:
    """The recipe's fields and the facts of a run; what is no plain value becomes JSON."""
    run = record.run
    facts = {name: getattr(run, name) for name in FACTS}
    values = {**facts, "status": record.status, **{f"recipe/{name}": value for name, value in run.recipe.items()}}
    return {
        _plain(name): value if isinstance(value, (bool, int, float)) else _text(value) for name, value in values.items()
    }


def points(record: Record) -> Iterator[Point]:
    """All curves of a run: test and validation in percent, then its logs, where they are numbers."""
    curve = record.curve
    if curve is None:
        return
    n, held_out = record.test_images, record.validation_images
    errors = {
        "error": (curve.raw, curve.ema, n),
        "validation_error": (curve.validation_raw, curve.validation_ema, held_out),
    }
    curves: dict[str, Sequence[float | None]] = {}
    for name, (raw, ema, images) in errors.items():
        for kind, wrong in (("raw", raw), ("ema", ema)):
            if wrong is not None and images:
                curves[f"{name}/{kind}"] = [100 * count / images for count in wrong]
                curves[f"{name.replace('error', 'accuracy')}/{kind}"] = [100 - 100 * count / images for count in wrong]
    curves |= {f"training/{_plain(name)}": values for name, values in curve.logs.items()}
    for name, values in curves.items():
        for value, step, seconds in zip(values, curve.steps, curve.seconds, strict=True):
            if value is not None:
                yield Point(name, value, step, seconds)


class TensorBoard:
    """Event files in the hidden folder `.tensorboard` of the results."""

    def __init__(self, store: Store) -> None:
        self.folder = _folder(store, "tensorboard")

    def write(self, record: Record) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        started = _started(record)
        with SummaryWriter(str(self.folder / title(record))) as writer:
            final: dict[str, float] = {}
            for name, value, step, seconds in points(record):
                writer.add_scalar(name, value, step, walltime=started + seconds)
                final[name] = value
            shown = {name: value for name, value in final.items() if name.startswith("accuracy")}
            for summary in hparams(parameters(record), shown):  # not `add_hparams`: it makes a run of its own
                writer.file_writer.add_summary(summary)
            writer.add_text("status", printable(record.status))

    def where(self) -> str:
        return f"in {self.folder}; to see them:\n  tensorboard --logdir {shlex.quote(str(self.folder))}"


class MLflow:
    """Runs of one experiment, where MLFLOW_TRACKING_URI says; else in a database in `.mlflow` of the results."""

    def __init__(self, store: Store) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # by default it tries for minutes
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing goes anywhere that the user did not name
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        self.local = None if os.environ.get("MLFLOW_TRACKING_URI") else self._local(store)
        try:
            self.client = MlflowClient(tracking_uri=self.local)
            found = self.client.get_experiment_by_name(EXPERIMENT)
            self.experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT)
        except MlflowException as error:
            raise UsageError(
                f"--log mlflow: {self._name()} cannot be used: {_without_secrets(error)}. Set MLFLOW_TRACKING_URI to a "
                "server or database that answers, or unset it."
            ) from error

    def _name(self) -> str:
        """Not the address of a server, which may hold a password."""
        return self.local or "the place that MLFLOW_TRACKING_URI names"

    def _local(self, store: Store) -> str:
        folder = _folder(store, "mlflow")
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder.resolve() / 'mlflow.db'}"

    def write(self, record: Record) -> None:
        from mlflow.entities import Metric, Param

        started = _started(record)
        tags = {"status": record.status, "variant": record.run.label, "dataset": record.run.dataset}
        run = self.client.create_run(self.experiment, round(1000 * started), tags, title(record)).info.run_id
        metrics = [Metric(p.name, p.value, round(1000 * (started + p.seconds)), p.step) for p in points(record)]
        params = [Param(name, str(value)) for name, value in parameters(record).items()]
        for start in range(0, len(metrics), MOST_METRICS):
            self.client.log_batch(run, metrics=metrics[start : start + MOST_METRICS])
        for start in range(0, len(params), MOST_PARAMS):
            self.client.log_batch(run, params=params[start : start + MOST_PARAMS])
        self.client.set_terminated(run, "FINISHED" if record.status == "done" else "FAILED")

    def where(self) -> str:
        command = f"; to see them:\n  mlflow ui --backend-store-uri {shlex.quote(self.local)}" if self.local else ""
        return f"in {self._name()}{command}"


def _folder(store: Store, tracker: str) -> Path:
    """The tracker's own folder among the results.

    Raises:
        UsageError: the results are not on this machine's disks.
    """
    if not isinstance(store.folder, LocalFolder):
        raise UsageError(f"--log {tracker} writes beside the results, and needs a folder of this machine in --results.")
    return store.folder.path(f".{tracker}")


def _started(record: Record) -> float:
    """When training would have begun had it gone on without a break until now, in seconds since the epoch."""
    return time.time() - (record.curve.seconds[-1] if record.curve and record.curve.seconds else 0.0)


def _without_secrets(error: Exception) -> str:
    """An error's text, short and without the user and password of an address."""
    return printable(shorten(re.sub(r"//[^/@\s]*@", "//", str(error)), 300))


def _plain(name: str) -> str:
    """A name that every tracker takes."""
    return re.sub(r"[^\w ./-]", "-", name, flags=re.ASCII)


def _text(value: Any) -> str:
    return shorten(printable(value if isinstance(value, str) else json.dumps(value)), LONGEST)


FACTS = (
    *("dataset", "variant", "version", "protocol", "budget", "selection", "seed", "steps", "validation", "unlabelled"),
    "id",
)
OPEN: Mapping[str, Callable[[Store], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),  # the latter two for a local database
}
