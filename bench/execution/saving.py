"""Checkpoints of a cohort while it trains, and going on from them."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import registry
from bench.execution.provenance import environment
from bench.grid import Run
from bench.store import Checkpoint, Store
from bench.training.sampling import Samples
from bench.training.state import load_run_states, run_state
from bench.training.trainer import Trainer


class Saver:
    """Writes the state of every run of a cohort at intervals; call it after every step."""

    def __init__(
        self, trainer: Trainer, runs: Sequence[Run], samples: Samples | None, resumed: Sequence[Sequence[int]],
        store: Store, every: float, made_by: Mapping[str, str],
    ) -> None:  # fmt: skip
        """`resumed`: for each run, the steps at which it has gone on from a checkpoint."""
        self.trainer, self.runs, self.samples, self.resumed, self.store = trainer, runs, samples, resumed, store
        self.every, self.made_by = every, made_by
        self.last, self.saved_at = time.monotonic(), trainer.at

    def __call__(self) -> None:
        if time.monotonic() - self.last >= self.every and self.trainer.at < self.trainer.schedule.steps:
            self.save()

    def save(self) -> None:
        """Now, unless this step is saved already."""
        if self.trainer.at > self.saved_at:
            cohort = tuple(run.id for run in self.runs)
            for index, run in enumerate(self.runs):
                state = run_state(self.trainer, index)
                state["resumed_at"] = list(self.resumed[index])
                if self.samples is not None:
                    state["samples"] = self.samples.run_state(index)
                with self.store.folder.storing():
                    self.store.checkpoints.save(run, self.trainer.at, state, cohort, self.made_by)
        self.last, self.saved_at = time.monotonic(), self.trainer.at


def restore(trainer: Trainer, samples: Samples | None, checkpoints: Sequence[Checkpoint]) -> None:
    """Goes on where the checkpoints were taken: one for each run, after the same step.

    Raises:
        ValueError, KeyError: they do not fit the trainer.
    """
    states: list[dict[str, Any]] = [checkpoint.state for checkpoint in checkpoints]
    load_run_states(trainer, states)
    if samples is not None:
        samples.load_run_states([state.get("samples", {}) for state in states])


def made_by(variant: str, plugins: Sequence[Path], device: str, precision: str) -> dict[str, str]:
    """What a run must not change in its middle: its code, torch, and what else its numbers depend on."""
    facts = environment()
    digest = hashlib.sha256(facts["source"].encode())
    own = inspect.getsourcefile(registry.get(variant))
    for file in (*plugins, *([Path(own)] if own else [])):
        digest.update(Path(file).read_bytes())
    kind = device.partition(":")[0]
    found = {"code": digest.hexdigest()[:16], "torch": facts["packages"]["torch"], "device": kind}
    if kind != "cpu":
        return found | {"precision": precision}
    return found | {"processor": facts["processor"], "mkl": facts["mkl_cbwr"]}
