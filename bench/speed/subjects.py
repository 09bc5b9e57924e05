"""Cohorts that are computed in several ways, or by several processes: what `bench speed --ways` looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from bench import registry
from bench.datasets import Dataset
from bench.datasets.dataset import COLOUR, Part, assemble
from bench.grid import task_of
from bench.speed.cases import case, real_digits, synthetic_mnist
from bench.speed.phases import shares
from bench.speed.setup import BUDGET, Setup


def synthetic_cifar(images: int = 5000) -> Dataset:
    """Random images with CIFAR-10's shape and type."""
    rng = np.random.default_rng(0)

    def part(n: int) -> Part:
        return Part(rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), np.arange(n) % 10)

    return assemble("cifar-shaped", part(images), part(1000), COLOUR, tuple("0123456789"))


@dataclass(frozen=True)
class Subject:
    """A cohort that is looked at.

    Attributes:
        runs: by type of device; none where it is not looked at there.
        longest: in the phase with most steps; otherwise in the first.
    """

    title: str
    setup: Callable[[], Setup]
    runs: Mapping[str, int]
    longest: bool = False

    def phase(self) -> str | None:
        """Its name; None: the first."""
        if not self.longest:
            return None
        found = shares(self.setup().made())
        return max(found, key=lambda name: found[name])


def _of(variant: str, protocol: str, dataset: str, data: Callable[[], Dataset]) -> Callable[[], Setup]:
    def setup() -> Setup:
        kind, shaped = registry.get(variant), data()
        shape_class = task_of(shaped, BUDGET, 0, None).shape_class
        return Setup(kind, kind.recipe_for(protocol, dataset, shape_class), shaped)

    return setup


SUBJECTS: Mapping[str, Subject] = {
    "digits": Subject("`fm`, `common`, digits", lambda: case("digits"), {"cpu": 15, "cuda": 40}),
    "mnist-common": Subject(
        "`fm`, `common`, MNIST's shapes", _of("fm", "common", "mnist", synthetic_mnist), {"cpu": 15, "cuda": 40}
    ),
    "mnist": Subject("`fm`, `paper`, MNIST's shapes", lambda: case("mnist"), {"cpu": 4, "cuda": 40}),
    "conv": Subject("`triple`'s classifier by itself", lambda: case("conv"), {"cpu": 4, "cuda": 40}),
    "triple": Subject(
        "`triple`, `paper`, MNIST's shapes",
        _of("triple", "paper", "mnist", synthetic_mnist),
        {"cpu": 2, "cuda": 40},
        longest=True,
    ),
    "cifar-common": Subject(
        "`fm`, `common`, CIFAR-10's shapes", _of("fm", "common", "cifar10", synthetic_cifar), {"cpu": 2}
    ),
    "cifar": Subject("`fm`, `paper`, CIFAR-10's shapes", _of("fm", "paper", "cifar10", synthetic_cifar), {"cuda": 10}),
}
CREWS: Mapping[str, Mapping[str, int]] = {  # by type of device: runs of the subjects that several processes train, too
    "cpu": {"digits": 30, "mnist": 2, "conv": 2},
    "cuda": {"mnist": 40, "triple": 40},
}


def stepping(subject: str, runs: int, device: torch.device) -> Callable[[], object]:
    """What takes a step of a cohort of so many runs, in the way of the rule."""
    chosen = SUBJECTS[subject]
    return chosen.setup().trainer(runs, chosen.phase(), device).step


WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0)  # relative to those of the recipe `common`


def widened(factor: float) -> Setup:
    """`fm` on digits with hidden layers so many times as wide."""
    fm = registry.get("fm")
    recipe = fm.recipe_for("common", "digits", "grey")
    wider = {name: tuple(int(factor * w) for w in getattr(recipe, name)) for name in ("classifier", "generator")}
    return Setup(fm, recipe.model_copy(update=wider), real_digits())


def largest_weight(setup: Setup) -> int:
    """Elements."""
    return max(p.numel() for make in setup.made().networks().values() for p in make().parameters())
