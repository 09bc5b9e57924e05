"""What becomes of a cohort's runs: their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.datasets import Dataset, Split
from bench.execution.provenance import environment, measurements
from bench.grid import Run
from bench.store import Curve, Record, SplitFacts
from bench.training.trainer import Trainer


def describe(
    runs: Sequence[Run],
    trainer: Trainer,
    splits: Sequence[Split],
    dataset: Dataset,
    further: Sequence[Mapping[str, Any]] = (),
) -> list[Record]:
    """The records of a cohort that has been trained; `further`, of each run, goes into its provenance."""
    diverged = trainer.diverged_at.tolist()
    shared = {**environment(), **measurements(trainer.device, trainer.precision.name)}
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
                provenance={**shared, "cohort": cohort, **(further[index] if further else {})},
            )
        )
    return records


def failure(run: Run, origin: Mapping[str, Any], reason: str, trace: str = "") -> Record:
    """The record of a run that could not be trained."""
    provenance = {**environment(), "traceback": trace, "origin": dict(origin)}
    return Record(run=run, status="failed", reason=reason[:2000], provenance=provenance)
