"""How a worker says how far its cohort is, for every display that reads along."""

from __future__ import annotations

import time
from typing import Any

from bench.store import Store
from bench.training.trainer import Trainer


class Progress:
    """The reports of one cohort."""

    def __init__(self, store: Store, cohort: str) -> None:
        self.store, self.journal, self.last = store, store.journal(cohort), 0.0

    def say(self, event: dict[str, Any]) -> None:
        """
        Raises:
            StorageError: the results folder cannot be written to.
        """
        with self.store.folder.storing():
            self.journal.append(event)

    def warn(self, text: str) -> None:
        self.say({"event": "warning", "text": text})

    def step(self, trainer: Trainer) -> None:
        """Call it after every step: now and then it says something."""
        now = time.monotonic()
        if now - self.last >= self.journal.heartbeat or trainer.at == trainer.schedule.steps:
            self.last = now
            self.say(_how_far(trainer))


def _how_far(trainer: Trainer) -> dict[str, Any]:
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
    return event
