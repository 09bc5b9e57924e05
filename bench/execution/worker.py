"""What a worker process does with a cohort: train it, report, store every run; its failures become records."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from torch import Tensor

from bench import registry
from bench.datasets import Dataset, Split, make_split
from bench.execution.cohorts import Cohort, DataSource, variant_of
from bench.execution.provenance import environment, measurements
from bench.grid import Run
from bench.store import Curve, Record, SplitFacts, Store, append_progress
from bench.training.sampling import Samples
from bench.training.trainer import Trainer

HEARTBEAT = 1.0  # seconds between two reports


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs besides the cohort."""

    results: Path
    data: DataSource
    device: str
    plugins: tuple[Path, ...] = ()
    save_weights: bool = False
    save_logits: bool = False
    samples: bool = False


def work(cohort: Cohort, job: Job) -> None:
    """Trains what is missing of a cohort and stores it. Runs that another process holds are left to it."""
    torch.set_num_threads(1)
    environment()  # now: the sources may change on disk while a cohort trains
    for plugin in job.plugins:
        registry.load_file(plugin)
    store = Store(job.results)
    progress = store.progress_path(cohort.name)
    with contextlib.ExitStack() as locks:
        runs = [run for run in cohort.runs if _acquire(store, run, locks) and not store.has(run)]
        if not runs:
            append_progress(progress, {"event": "finished", "runs": 0})
            return
        append_progress(progress, {"event": "started", "runs": len(runs), "steps": runs[0].steps, "pid": os.getpid()})
        try:
            records = _train(runs, job, store, progress)
        except Exception as error:  # a worker's failure is a result: recorded, shown, tried again by the next call
            reason = f"{type(error).__name__}: {error}"
            records = [failure(run, job, reason, traceback.format_exc()) for run in runs]
        for record in records:
            store.write(record)
        failed = sum(record.status != "done" for record in records)
        append_progress(progress, {"event": "finished", "runs": len(runs), "failed": failed})


def failure(run: Run, job: Job, reason: str, trace: str = "") -> Record:
    """The record of a run that could not be trained."""
    provenance = {**environment(), "traceback": trace}
    return _with_origin(Record(run=run, status="failed", reason=reason[:2000], provenance=provenance), job)


def _acquire(store: Store, run: Run, locks: contextlib.ExitStack) -> bool:
    try:
        locks.enter_context(store.lock(run.id).acquire(timeout=0))
    except Timeout:
        return False
    return True


@lru_cache(maxsize=1)
def _dataset(source: DataSource) -> Dataset:
    return source.load()


def _train(runs: Sequence[Run], job: Job, store: Store, progress: Path) -> list[Record]:
    dataset, device = _dataset(job.data), torch.device(job.device)
    trainer, splits = prepare(runs, dataset, device, job.data.index_file)
    report, samples = _reporter(progress), Samples(trainer) if job.samples else None

    def after_a_step(now: Trainer) -> None:
        report(now)
        if samples is not None:
            samples(now)

    trainer.train(after_a_step)
    records = [_with_origin(record, job) for record in describe(runs, trainer, splits, dataset)]
    if job.save_weights or job.save_logits or job.samples:
        records = [_save(record, index, trainer, samples, job, store) for index, record in enumerate(records)]
    return records


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
    return Trainer(variant, dataset, splits, [run.seed for run in runs], runs[0].steps, device), splits


def describe(runs: Sequence[Run], trainer: Trainer, splits: Sequence[Split], dataset: Dataset) -> list[Record]:
    """The records of a cohort that has been trained."""
    diverged, shared = trainer.diverged_at.tolist(), {**environment(), **measurements(trainer.device)}
    shared |= {"executor": trainer.executor.name, "seconds": round(trainer.seconds, 3)}
    cohort = [run.id for run in runs]
    records = []
    for index, (run, split) in enumerate(zip(runs, splits, strict=True)):
        errors, logs = trainer.curves.run(index)
        records.append(
            Record(
                run=run,
                status="done" if diverged[index] < 0 else "diverged",
                diverged_at=None if diverged[index] < 0 else diverged[index],
                split=SplitFacts(
                    labelled_hash=split.labelled.hash,
                    labelled=len(split.labelled),
                    labels_touched=split.labelled.touched,
                    validation=len(split.validation_indices),
                    unlabelled=len(split.unlabelled),
                ),
                test_images=len(trainer.evaluator.test_images),
                validation_images=len(split.validation_indices),
                curve=Curve(steps=trainer.curves.steps, seconds=trainer.curves.seconds, logs=logs, **errors),
                provenance={**shared, "cohort": cohort},
            )
        )
    return records


def _with_origin(record: Record, job: Job) -> Record:
    """Adds what `bench show` needs to name the command that repeats the run."""
    index_file = job.data.index_file
    origin = {
        "dataset": job.data.name,
        "image_size": job.data.image_size,
        "index_file": None if index_file is None else str(index_file),
        "plugins": [str(plugin) for plugin in job.plugins],
    }
    return record.model_copy(update={"provenance": {**record.provenance, "origin": origin}})


def _reporter(path: Path) -> Callable[[Trainer], None]:
    last = 0.0

    def report(trainer: Trainer) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < HEARTBEAT and trainer.at < trainer.schedule.steps:
            return
        last = now
        event: dict[str, Any] = {
            "event": "step",
            "step": trainer.at,
            "phase": trainer.phase.name if trainer.phase else "",
        }
        if trainer.curves.steps:
            errors, logs = trainer.curves.errors[-1], trainer.curves.logs[-1]
            kind = "ema" if trainer.variant.recipe.evaluate_with == "ema" and "ema" in errors else "raw"
            images = len(trainer.evaluator.test_images)
            event["accuracy"] = 100 * (1 - sum(errors[kind]) / len(errors[kind]) / images)
            event["losses"] = {k: sum(v) / len(v) for k, v in logs.items() if k.endswith("/loss")}
        append_progress(path, event)

    return report


def _save(record: Record, index: int, trainer: Trainer, samples: Samples | None, job: Job, store: Store) -> Record:
    """Writes weights (averaged where the accuracy is theirs), test logits and samples beside the run's file."""
    from safetensors.torch import save_file

    averaged = record.accuracy_of == "ema"
    base = store.path(record.run)
    base.parent.mkdir(parents=True, exist_ok=True)
    artefacts = {}
    if job.save_weights:
        weights = {
            f"{network}/{name}": tensor[index].contiguous().cpu()
            for network, net in trainer.networks.items()
            for name, tensor in _tensors(trainer, network, averaged and network in trainer.averages).items()
        }
        artefacts["weights"] = base.with_suffix(".weights.safetensors").name
        save_file(weights, base.with_name(artefacts["weights"]))
    if job.save_logits:
        artefacts["logits"] = base.with_suffix(".logits.safetensors").name
        save_file(
            {"logits": trainer.evaluator.logits(averaged)[index].contiguous().cpu()},
            base.with_name(artefacts["logits"]),
        )
    if samples is not None and (kept := samples.of_run(index)):
        artefacts["samples"] = base.with_suffix(".samples.safetensors").name
        save_file(kept, base.with_name(artefacts["samples"]))
    return record.model_copy(update={"artefacts": artefacts})


def _tensors(trainer: Trainer, network: str, averaged: bool) -> dict[str, Tensor]:
    net = trainer.networks[network]
    if averaged:
        average = trainer.averages[network]
        return {**average.parameters(), **average.buffers}
    return {**net.parameters, **net.buffers}
