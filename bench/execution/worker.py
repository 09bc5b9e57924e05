"""What a worker process does with a cohort: train it, report, store every run; its failures become records."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch

from bench import registry
from bench.datasets import Dataset, Split, make_split
from bench.errors import UsageError, shorten
from bench.execution.artefacts import save_artefacts
from bench.execution.cohorts import Cohort, DataSource, variant_of
from bench.execution.provenance import environment
from bench.execution.records import describe, failure
from bench.execution.reports import Progress
from bench.execution.saving import Saver, made_by, restore
from bench.execution.stopping import Orders, Stopped, Watch
from bench.grid import Run
from bench.store import ConflictError, Record, StorageError, Store
from bench.training.precision import DEFAULTS, PrecisionName
from bench.training.sampling import Samples
from bench.training.trainer import Trainer

CHECKPOINT_EVERY = 60.0  # seconds
NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "unable to allocate",
)  # torch's, NumPy's


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs besides the cohort."""

    results: str
    data: DataSource
    device: str
    plugins: tuple[Path, ...] = ()
    save_weights: bool = False
    save_logits: bool = False
    samples: bool = False
    checkpoint_every: float = CHECKPOINT_EVERY  # seconds; 0: after every step
    orders: Orders = field(default_factory=Orders)
    told: Mapping[str, Any] | None = None  # `origin` on the machine where the job comes from

    def origin(self) -> dict[str, Any]:
        """What `bench show` needs to name the command that repeats a run."""
        if self.told is not None:
            return dict(self.told)
        index_file = self.data.index_file
        return {
            "dataset": self.data.name,
            "image_size": self.data.image_size,
            "index_file": None if index_file is None else str(index_file),
            "plugins": [str(plugin) for plugin in self.plugins],
        }


def work(cohort: Cohort, job: Job) -> None:
    """Trains what is missing of a cohort and stores it. Runs that another process holds are left to it.

    Raises:
        StorageError: the results folder cannot be written to.
    """
    torch.set_num_threads(1)
    environment()  # now: the sources may change on disk while a cohort trains
    for plugin in job.plugins:
        registry.load_file(plugin)
    Work(cohort, job).do()
    if torch.device(job.device).type == "cuda":
        release_memory()


class Work:
    """One cohort in one worker."""

    def __init__(self, cohort: Cohort, job: Job) -> None:
        self.cohort, self.job, self.store = cohort, job, Store(job.results)
        self.progress = Progress(self.store, cohort.name)
        self.watch = Watch(job.orders)
        first, kind = cohort.runs[0], torch.device(job.device).type
        self.made_by = made_by(first.variant, job.plugins, job.device, precision_of(first, kind))

    def do(self) -> None:
        with self.watch.listening(), contextlib.ExitStack() as locks:
            if self.watch():
                self.progress.say({"event": "stopped"})
                return
            runs = self._acquired(locks)
            if not runs:
                self.progress.say({"event": "finished", "runs": 0})
                return
            _refuse_other_data(runs, dataset_of(self.job.data), self.job.data)
            self.progress.say({"event": "started", "runs": len(runs), "steps": runs[0].steps, "pid": os.getpid()})
            try:
                failed = sum(self._attempt(part) for part in self._equally_far(runs))
            except Stopped:
                self.progress.say({"event": "stopped"})
                return
            self.progress.say({"event": "finished", "runs": len(runs), "failed": failed})

    def _acquired(self, locks: contextlib.ExitStack) -> list[Run]:
        """Locks the runs that are to be trained. Of those that were stored meanwhile nothing but the record is kept."""
        held = {}
        with self.store.folder.storing():
            for run in self.cohort.runs:
                if (lock := self.store.hold(run)) is not None:
                    held[run.id] = locks.enter_context(contextlib.ExitStack())
                    held[run.id].enter_context(lock)
        own = [run for run in self.cohort.runs if run.id in held]
        standings = self.store.standings(own)
        for run in own:
            if standings[run.id].settled:
                self.store.checkpoints.delete(run.id)
                held[run.id].close()
        return [run for run in own if not standings[run.id].settled]

    def _equally_far(self, runs: Sequence[Run]) -> Iterable[list[Run]]:
        """Runs that can go on together: those whose last intact checkpoints are of the same step."""
        parts: dict[int, list[Run]] = {}
        for run in runs:
            found, notes = self.store.checkpoints.load(run, self.made_by)
            for note in notes:
                self.progress.warn(note)
            parts.setdefault(found.head.step if found else 0, []).append(run)
        return parts.values()

    def _attempt(self, runs: list[Run]) -> int:
        """Trains and stores runs, in halves where memory does not suffice; how many failed or diverged."""
        try:
            return sum(record.status != "done" for record in self._train(runs))
        except (Stopped, StorageError, ConflictError):
            raise
        except Exception as error:  # a worker's failure is a result: recorded, shown, tried again by the next call
            reason, trace, short = f"{type(error).__name__}: {error}", traceback.format_exc(), is_lack_of_memory(error)
        if short and len(runs) > 1:  # out of the handler, whose traceback keeps the failed cohort in memory
            half = len(runs) // 2
            self.progress.warn(f"out of memory with {len(runs)} runs together; tried again with {len(runs) - half}")
            release_memory()
            return sum(self._attempt(part) for some in (runs[:-half], runs[-half:]) for part in self._equally_far(some))
        for run in runs:  # their checkpoints stay: they go on from there when they are tried again
            with self.store.folder.storing():
                self.store.write(failure(run, self.job.origin(), reason, trace))
        return len(runs)

    def _train(self, runs: list[Run]) -> list[Record]:
        """Trains runs and stores them."""
        job, dataset, device = self.job, dataset_of(self.job.data), torch.device(self.job.device)
        trainer, splits = prepare(runs, dataset, device, job.data.index_file)
        samples = Samples(trainer) if job.samples else None
        try:
            resumed = self._resume(runs, trainer, samples)
        except Exception as error:
            self.progress.warn(
                f"{len(runs)} checkpoints do not fit their runs ({shorten(error)}); the runs start from step 0"
            )
            for run in runs:
                self.store.checkpoints.delete(run.id)
            return self._train(runs)
        saver = Saver(trainer, runs, samples, resumed, self.store, job.checkpoint_every, self.made_by)

        def after_a_step(now: Trainer) -> None:
            self.progress.step(now)
            if samples is not None:
                samples(now)
            saver()
            if now.at < now.schedule.steps and self.watch():
                saver.save()
                raise Stopped

        trainer.train(after_a_step)
        further = [{"origin": job.origin(), "resumed_at": steps} for steps in resumed]
        records = describe(runs, trainer, splits, dataset, further)
        conflicts = []
        for index, record in enumerate(records):  # one by one: what is stored is stored, whatever befalls the next
            with self.store.folder.storing():
                whole = save_artefacts(record, index, trainer, samples, self.store, job.save_weights, job.save_logits)
                try:
                    self.store.write(whole)
                except ConflictError as error:
                    conflicts.append(error)
            self.store.checkpoints.delete(record.id)
        if conflicts:
            raise conflicts[0]
        return records

    def _resume(self, runs: list[Run], trainer: Trainer, samples: Samples | None) -> list[list[int]]:
        """Goes on from the runs' checkpoints, if they have any; for each run the steps where it was ever resumed."""
        found = [self.store.checkpoints.load(run, self.made_by)[0] for run in runs]
        checkpoints = [checkpoint for checkpoint in found if checkpoint is not None]
        if not checkpoints:
            return [[] for _ in runs]
        restore(trainer, samples, checkpoints)
        return [[*checkpoint.state["resumed_at"], trainer.at] for checkpoint in checkpoints]


def _refuse_other_data(runs: Sequence[Run], dataset: Dataset, source: DataSource) -> None:
    """
    Raises:
        UsageError: this machine's data are not those that the runs were planned for.
    """
    if dataset.content_hash != runs[0].dataset_hash:
        raise UsageError(
            f"{platform.node()}: dataset {source.name!r} there has the content hash {dataset.content_hash[:12]}, and "
            f"{runs[0].dataset_hash[:12]} is wanted. Its BENCH_DATA must hold the same data."
        )


def is_lack_of_memory(error: Exception) -> bool:
    memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return memory or (isinstance(error, RuntimeError) and any(text in str(error).lower() for text in NO_MEMORY))


def release_memory() -> None:
    """Gives back what nobody uses any more, on a GPU to other processes. It takes tenths of a second."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@lru_cache(maxsize=1)
def dataset_of(source: DataSource) -> Dataset:
    """The dataset, loaded once."""
    return source.load()


def prepare(
    runs: Sequence[Run], dataset: Dataset, device: torch.device, index_file: Path | None = None
) -> tuple[Trainer, list[Split]]:
    """The trainer of a cohort, before its first step."""
    splits = [
        make_split(
            dataset, seed=run.seed, budget=run.budget, selection=run.selection, validation=run.validation,
            unlabelled=run.unlabelled, index_file=index_file,
        )
        for run in runs
    ]  # fmt: skip
    variant = variant_of(runs[0], dataset)
    seeds, precision = [run.seed for run in runs], precision_of(runs[0], device.type)
    return Trainer(variant, dataset, splits, seeds, runs[0].steps, device, precision), splits


def precision_of(run: Run, device: str) -> PrecisionName:
    """In which precision a run is trained on a type of device."""
    return DEFAULTS[device] if run.precision is None else cast(PrecisionName, run.precision)
