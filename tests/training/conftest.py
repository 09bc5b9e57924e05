"""Toy variants, and trainers of them on digits."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.datasets import Dataset, make_split
from bench.training.capture import Graphs
from bench.training.precision import PrecisionName
from bench.training.trainer import Trainer
from bench.variant import Draw, Ema, Phase, Player, Recipe, Task, Variant, setting
from variants.parts.layers import BatchNorm, Layer, Linear


class Net(Layer):
    """One linear layer with batch norm before it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm, self.linear = BatchNorm(inputs), Linear(inputs, outputs)

    def forward(self, x: Tensor, noise: Any = None, update: bool = False) -> Tensor:
        return self.linear(self.norm(x.flatten(1), noise, update))


class ToyRecipe(Recipe):
    batch: int = setting(6, "labelled images per step", ge=1, batch=True)


class Toy(Variant):
    """A linear classifier; a second player shares it, with a loss and an optimiser of its own."""

    name = "toy"
    recipe_type = ToyRecipe
    recipes = {"common": {"grey": ToyRecipe(steps=10, lr=0.01, evaluations=2)}}
    ema: Ema | None = Ema(0.9)

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        return {
            "classifier": lambda: Net(self.task.features, self.task.classes),
            "other": lambda: Net(self.task.features, 3),
        }

    def draws(self) -> Mapping[str, Draw]:
        return {
            "labelled": Draw(self.recipe.batch, "labelled", "tiled"),
            "unlabelled": Draw(5, "all"),
        }

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("main", 1.0, (Player("classifier", ("classifier",), self.loss, self.recipe.lr, ema=self.ema),)),)

    def loss(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
        images, labels = batch["labelled"]
        logits = nets.classifier(images + 0.1 * noise.normal(*images.shape), noise, update=True)
        unlabelled = batch["unlabelled"] * noise.keep_mask(batch["unlabelled"].shape, 0.2)
        spread = nets.other(unlabelled).square().mean() + nets.classifier(unlabelled, noise).square().mean()
        return F.cross_entropy(logits, labels) + 0.01 * spread, {"spread": spread}

    def classify(self, nets: Any, images: Tensor) -> Tensor:
        return nets.classifier(images)


@pytest.fixture
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(scope="session")
def toy() -> type[Toy]:
    """The toy variant, to derive others from."""
    return Toy


@pytest.fixture(scope="session")
def emulation() -> ModuleType:
    """The module of stand-ins for CUDA graphs."""
    spec = importlib.util.spec_from_file_location("emulated_graph", Path(__file__).with_name("emulated_graph.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_trainer(digits: Dataset) -> Callable[..., Trainer]:
    """A trainer on digits for a variant class and seeds."""

    def make(
        kind: type[Variant],
        seeds: tuple[int, ...] = (0,),
        steps: int = 6,
        budget: int = 20,
        validation: int = 0,
        dataset: Dataset = digits,
        graphs: Graphs | None = None,
        precision: PrecisionName = "fp32",
        device: str = "cpu",
        **fields: Any,
    ) -> Trainer:
        recipe = kind.recipe_type(**{"steps": steps, "lr": 0.01, "evaluations": 1} | fields)
        task = Task(dataset.image_shape, dataset.classes, dataset.value_range, budget, dataset.n_images - budget)
        splits = [
            make_split(dataset, seed=seed, budget=budget, selection="balanced", validation=validation) for seed in seeds
        ]
        return Trainer(kind(task, recipe), dataset, splits, seeds, steps, torch.device(device), precision, graphs)

    return make
