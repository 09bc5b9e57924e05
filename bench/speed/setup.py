"""A variant with a recipe on a dataset, ready to be trained: by the trainer, or by a plain loop."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.datasets import Dataset, Split, make_split
from bench.grid import task_of
from bench.speed.phases import only
from bench.speed.plain import PlainLoop
from bench.speed.rounds import CPU
from bench.training.trainer import Trainer
from bench.variant import Recipe, Variant

BUDGET = 100  # labels


@dataclass(frozen=True)
class Setup:
    """What is trained. A `phase` by its name is measured alone; without one training begins with the first."""

    variant: type[Variant]
    recipe: Recipe
    dataset: Dataset

    def made(self, phase: str | None = None) -> Variant:
        """The variant with its task and recipe."""
        made = self.variant(task_of(self.dataset, BUDGET, 0, None), self.recipe)
        return made if phase is None else only(made, phase)

    def trainer(self, runs: int, phase: str | None = None, device: torch.device = CPU) -> Trainer:
        """A cohort of so many runs with different seeds, with more steps ahead of it than will be measured."""
        splits = [self.split(seed) for seed in range(runs)]
        return traced(Trainer(self.made(phase), self.dataset, splits, list(range(runs)), 1_000_000, device))

    def plain(self, phase: str, device: torch.device = CPU) -> PlainLoop:
        """The run of seed 0 by itself."""
        return PlainLoop(self.made(phase), self.dataset, self.split(0), device)

    def split(self, seed: int) -> Split:
        return make_split(self.dataset, seed=seed, budget=BUDGET, selection="balanced")


def traced(trainer: Trainer) -> Trainer:
    """The trainer, whose losses are written out from the first step on, as nearly all of a run's steps are on a CPU."""
    if trainer.device.type == "cpu":
        trainer.executor.repeated.trace_after = 0
    return trainer
