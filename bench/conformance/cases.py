"""What the checks train: a variant with each of its recipes on small data, for a few steps."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from bench.conformance.problem import ConformanceError, describe
from bench.datasets import Dataset, Split, load, make_split
from bench.datasets.dataset import COLOUR, GREY, Part, Scale, assemble
from bench.errors import UsageError
from bench.grid import task_of
from bench.training.executor import LoopExecutor, Networks, VmapExecutor
from bench.training.trainer import Trainer
from bench.variant import Recipe, Variant

BUDGET = 20  # labels
TEST_IMAGES, EVALUATIONS = 16, 2
TINY_BATCH = 4
CPU = torch.device("cpu")
# Stand-ins for data: the name that recipes are looked up by, and the shape. Ours first, shape classes before names.
SHAPES: dict[str, tuple[int, ...]] = {
    "grey": (1, 8, 8), "vector": (2,), "colour": (3, 8, 8), "large": (3, 40, 40), "mnist": (1, 28, 28),
    "fashion-mnist": (1, 28, 28), "svhn": (3, 32, 32), "cifar10": (3, 32, 32), "two-circles": (2,),
}  # fmt: skip

MakeExecutor = Callable[[Networks], VmapExecutor | LoopExecutor]


@dataclass(frozen=True, eq=False)
class Case:
    """A variant with one recipe on one dataset."""

    kind: type[Variant]
    protocol: str
    recipe: Recipe
    dataset: Dataset = field(repr=False)
    tiny: bool = False  # batches cut down

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of a small cohort."""
        return (0,) if self.tiny else (0, 1)

    def __str__(self) -> str:
        return f"{self.protocol} recipe on {self.dataset.name}"

    def variant(self, budget: int = BUDGET) -> Variant:
        return self.kind(task_of(self.dataset, budget, 0, None), self.recipe)

    def splits(self, seeds: Sequence[int], budget: int = BUDGET) -> list[Split]:
        return [make_split(self.dataset, seed=seed, budget=budget, selection="balanced") for seed in seeds]

    def trainer(
        self,
        seeds: Sequence[int],
        steps: int,
        *,
        budget: int = BUDGET,
        executor: MakeExecutor | None = None,
        dataset: Dataset | None = None,
        splits: Sequence[Split] | None = None,
    ) -> Trainer:
        """A cohort before its first step; `executor`, `dataset` and `splits` replace the rule's and its own."""
        parts = splits or self.splits(seeds, budget)
        trainer = Trainer(self.variant(budget), dataset or self.dataset, parts, seeds, steps, CPU)
        if executor is not None:
            trainer.executor = trainer.evaluator.executor = executor(trainer.networks)
        return trainer


def per_case(check: Callable[[Case], None]) -> Callable[[type[Variant]], None]:
    """A check of a variant from a check of one of its cases; problems name the case."""

    @functools.wraps(check)
    def over(kind: type[Variant]) -> None:
        for case in cases(kind):
            try:
                check(case)
            except Exception as error:  # whatever the author's code raises is the finding
                raise ConformanceError(f"{case}: {describe(error, kind)}") from error

    return over


def cases(kind: type[Variant]) -> list[Case]:
    """The common recipe with its own batches, and the paper's with tiny ones (the only one with its own)."""
    first, *rest = whole_cases(kind)
    cut = [first, *(replace(case, recipe=case.recipe.smoke(TINY_BATCH), tiny=True) for case in rest)]
    limits = {"evaluations": EVALUATIONS, "test_images": TEST_IMAGES}
    return [replace(case, recipe=case.recipe.model_copy(update=limits)) for case in cut]


def whole_cases(kind: type[Variant]) -> list[Case]:
    """The recipes of both protocols, uncut, each on the first data that it is made for; `common` first."""
    found = [case for protocol in ("common", "paper") if (case := next(_candidates(kind, protocol), None)) is not None]
    if not found:
        raise ConformanceError("`recipes` has no recipe, neither `common` nor `paper`, for any kind of images")
    return found


def _candidates(kind: type[Variant], protocol: str) -> Iterator[Case]:
    for name in ("digits", *SHAPES):
        dataset = synthetic(name, 10) if name in SHAPES else _digits()
        shape_class = task_of(dataset, 1, 0, None).shape_class
        with contextlib.suppress(UsageError):  # no recipe for such data
            yield Case(kind, protocol, kind.recipe_for(protocol, name, shape_class), dataset)


@cache
def _digits() -> Dataset:
    return load("digits", Path())


@cache
def synthetic(name: str, classes: int, train: int = 120, test: int = 40) -> Dataset:
    """Images of the stand-in `name`: one random prototype per class, and noise."""
    shape, rng = SHAPES[name], np.random.default_rng(0)
    prototypes = rng.uniform(0, 255, (classes, *shape))

    def part(n: int) -> Part:
        labels = np.arange(n) % classes
        images = np.clip(prototypes[labels] + rng.normal(0, 25, (n, *shape)), 0, 255)
        return Part(images.astype(np.float32) / 255 if len(shape) == 1 else images.astype(np.uint8), labels)

    scale = Scale(0.0, 1.0, None) if len(shape) == 1 else COLOUR if shape[0] == 3 else GREY
    return assemble(name, part(train), part(test), scale, [str(k) for k in range(classes)])
