"""What a worker adds to training: progress reports, checkpoints, records, and the questions that it asks at each step.

Each piece is measured by itself and summed up over how often it occurs: as a whole they drown in the machine's noise.
The whole is measured beside it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.datasets import Dataset, Split
from bench.execution import Cohort, DataSource
from bench.execution.records import describe
from bench.execution.reports import Progress
from bench.execution.saving import Saver, made_by
from bench.execution.stopping import Orders, Watch
from bench.execution.worker import CHECKPOINT_EVERY, Job, prepare, work
from bench.grid import Options, Run, plan
from bench.speed.rounds import CPU, Alternative, Effort, Spread, measure
from bench.speed.setup import BUDGET, traced
from bench.speed.tables import cohort, table, verdict
from bench.store import Store
from bench.training.trainer import Trainer

AT_MOST = 0.03  # of the time of training
REPORT_EVERY = 1.0  # seconds, as workers do it
QUESTIONS = 200  # asked in a row, well within a second
ALONE, WORKER = "trainer alone", "worker"


@dataclass(frozen=True)
class Costs:
    """Seconds of a cohort's training, and of what a worker does besides, each time that it does."""

    step: float
    evaluation: float
    questions: float  # after each step: whether to report, to save, to stop
    report: float  # a line of progress
    checkpoint: float  # of all runs
    records: float  # of all runs, with the search for checkpoints at the start

    def shares(self, steps: int, evaluations: int) -> dict[str, float]:
        """Of each piece, relative to the time of training in a run of so many steps and evaluations."""
        training = steps * self.step + evaluations * self.evaluation
        return {
            "questions after each step": steps * self.questions / training,
            f"report, every {REPORT_EVERY:g} s": self.report / REPORT_EVERY,
            f"checkpoint, every {CHECKPOINT_EVERY:g} s": self.checkpoint / CHECKPOINT_EVERY,
            "records, once per run": self.records / training,
        }


@dataclass(frozen=True)
class Subject:
    """Runs whose training is looked at."""

    data: str
    dataset: Dataset
    runs: list[Run]

    @property
    def title(self) -> str:
        return f"{self.data}, {cohort(len(self.runs))}, {self.runs[0].steps:,} steps"

    @property
    def evaluations(self) -> int:
        return int(self.runs[0].recipe["evaluations"])


def subject(data: str, dataset: Dataset, protocol: str, runs: int, steps: int | None = None) -> Subject:
    """Runs of `fm`."""
    options = Options(variants="fm", labels=str(BUDGET), seeds=str(runs), protocol=protocol, steps=steps)
    return Subject(data, dataset, plan(options, dataset))


def costs(chosen: Subject, repeats: int, steps: int) -> Costs:
    """Medians of wall time, which counts the waiting for the disk, too.

    Args:
        repeats: of everything but steps.
        steps: that are timed, after one that is not.
    """
    trainer, splits = prepare(chosen.runs, chosen.dataset, CPU)
    traced(trainer).step()
    trainer.evaluate()
    step = _median(trainer.step, steps)
    evaluation = _median(trainer.evaluate, repeats)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        questions, report = _reports(trainer, store, repeats)
        checkpoint = _median(_saving(trainer, chosen.runs, store), repeats)
        records = _median(_recording(chosen, trainer, splits, Path(folder)), repeats)
    return Costs(step, evaluation, questions, report, checkpoint, records)


def _reports(trainer: Trainer, store: Store, repeats: int) -> tuple[float, float]:
    """Seconds of the questions after a step, and of a line of progress."""
    progress, watch = Progress(store, "speed"), Watch(Orders())
    saver = _saver(trainer, [], store)

    def ask() -> None:
        for _ in range(QUESTIONS):
            progress.step(trainer)
            saver()
            watch()

    def say() -> None:
        progress.last = 0.0
        progress.step(trainer)

    say()
    return _median(ask, repeats) / QUESTIONS, _median(say, repeats)


def _saver(trainer: Trainer, runs: Sequence[Run], store: Store) -> Saver:
    code = made_by("fm", [], "cpu", "fp32")
    return Saver(trainer, runs, None, [[] for _ in runs], store, CHECKPOINT_EVERY, code)


def _saving(trainer: Trainer, runs: Sequence[Run], store: Store) -> Callable[[], None]:
    saver = _saver(trainer, runs, store)

    def save() -> None:
        saver.saved_at = -1  # or it would not save the same step again
        saver.save()

    return save


def _recording(chosen: Subject, trainer: Trainer, splits: list[Split], folder: Path) -> Callable[[], None]:
    """What is done once per run, each time in a new folder: a stored record is not written again."""
    folders, code = iter(range(10**6)), made_by("fm", [], "cpu", "fp32")

    def record() -> None:
        place = folder / f"{next(folders)}"
        place.mkdir()
        store = Store(place)
        for run in chosen.runs:
            store.checkpoints.load(run, code)
        for made in describe(chosen.runs, trainer, splits, chosen.dataset):
            store.write(made)

    return record


def _median(call: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def whole(chosen: Subject, source: DataSource, effort: Effort) -> Spread:
    """Processor time of a worker relative to that of the trainer alone, both from the first step to the last."""
    runs = Cohort("speed", tuple(chosen.runs))

    def worker() -> None:
        with tempfile.TemporaryDirectory() as folder:
            place: Any = Path(folder)
            work(runs, Job(place, source, "cpu"))
            store = Store(place)
            for run in chosen.runs:  # a worker's failure is a record, and quick
                if (record := store.record(run)).status != "done":
                    raise RuntimeError(f"{run.id}: {record.reason}")

    def alone() -> None:
        prepare(chosen.runs, chosen.dataset, CPU)[0].train()

    timings = measure({ALONE: Alternative(alone), WORKER: Alternative(worker)}, effort)
    return timings.ratio(WORKER, ALONE)


def section(found: Sequence[tuple[Subject, Costs]], tried: Subject, ratio: Spread) -> str:
    """A row per cohort, and the whole."""
    rows = []
    for chosen, own in found:
        shares = own.shares(chosen.runs[0].steps, chosen.evaluations)
        total = sum(shares.values())
        rows.append((chosen.title, *(f"{share:.3%}" for share in [*shares.values(), total]), verdict(total <= AT_MOST)))
    names = found[0][1].shares(1, 1)
    note = (
        "What `bench run` does besides steps and evaluations, relative to their time; each piece is measured by "
        f"itself, in wall time, and counted as often as it occurs. Target: together at most {AT_MOST:.0%}."
    )
    check = (
        f"As a whole, {tried.title}, with all that is done once per run: a worker takes {ratio.text(2)} times the "
        "processor time of the trainer alone."
    )
    return f"## Overhead of the harness\n\n{note}\n\n{table(('', *names, 'together', ''), rows)}\n{check}\n"
