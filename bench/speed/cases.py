"""What is measured: `fm` on MNIST's shapes and on digits, one convolutional classifier; trainers and yardsticks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from bench import registry
from bench.datasets import Dataset, load
from bench.datasets.dataset import GREY, Part, assemble
from bench.speed.handwritten import FMLoop
from bench.speed.handwritten_conv import PretrainingLoop, bare_convolutions, conv_flops
from bench.speed.products import FMShape, bare, flops, fm_shape
from bench.speed.rounds import Alternative
from bench.speed.setup import BUDGET, Setup

CaseName = Literal["mnist", "digits", "conv"]


@cache
def synthetic_mnist(images: int = 60_000) -> Dataset:
    """Random images with MNIST's shape, type and size: speed does not depend on what they show."""
    rng = np.random.default_rng(0)

    def part(n: int) -> Part:
        return Part(rng.integers(0, 256, (n, 1, 28, 28), dtype=np.uint8), np.arange(n) % 10)

    return assemble("mnist-shaped", part(images), part(1000), GREY, tuple("0123456789"))


def real_digits() -> Dataset:
    return load("digits", Path())


@dataclass(frozen=True)
class Case(Setup):
    """With the hand-written loop for the same."""

    loop: Callable[..., Any]

    def handwritten(self) -> Any:
        """The hand-written loop on the labels of seed 0."""
        split = self.split(0)
        labels = torch.from_numpy(split.labelled.read(np.arange(BUDGET)))
        indices = torch.from_numpy(split.labelled.indices.copy())
        return self.loop(self.recipe, self.dataset.train_images, self.dataset.divisor, indices, labels)


def case(name: CaseName) -> Case:
    return _CASES[name]()


def fm_products(case: Case) -> FMShape:
    """The matrix products of a case of `fm`."""
    recipe: Any = case.recipe
    pixels = case.dataset.train_images[0].numel()
    return fm_shape(pixels, recipe.classifier, case.dataset.classes, recipe.generator, recipe.batch)


def step_flops(case: Case) -> int:
    """Operations of one run-step in matrix products or convolutions."""
    recipe: Any = case.recipe
    if case.loop is PretrainingLoop:
        return conv_flops(recipe.labelled_batch + recipe.pretrain_batch)
    return flops(fm_products(case).products())


def bare_step(case: Case, stacked: int | None) -> Alternative:
    """The matrix products or convolutions of a run-step and nothing else; of so many runs at once where stacked."""
    recipe: Any = case.recipe
    if case.loop is PretrainingLoop:
        return Alternative(bare_convolutions([recipe.labelled_batch, recipe.pretrain_batch]))
    return Alternative(bare(fm_products(case).products(), stacked), stacked or 1)


def _mnist() -> Case:
    fm = registry.get("fm")
    return Case(fm, fm.recipe_for("paper", "mnist", "grey"), synthetic_mnist(), FMLoop)


def _digits() -> Case:
    fm = registry.get("fm")
    return Case(fm, fm.recipe_for("common", "digits", "grey"), real_digits(), FMLoop)


def _conv() -> Case:
    """Triple-GAN's first phase: its classifier alone; batches smaller than the paper's 100 and 500."""
    triple = registry.get("triple")
    paper = triple.recipe_for("paper", "mnist", "grey")
    recipe = paper.model_copy(update={"labelled_batch": 50, "pretrain_batch": 50})
    return Case(triple, recipe, synthetic_mnist(10_000), PretrainingLoop)


_CASES: Mapping[str, Callable[[], Case]] = {"mnist": _mnist, "digits": _digits, "conv": _conv}
