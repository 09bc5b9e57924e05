"""Operations and bytes of a step against numbers worked out by hand, and against the count of a run's training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import registry
from bench.conformance.cases import synthetic
from bench.datasets import Dataset
from bench.execution.cost import training_flops
from bench.grid import Options, plan
from bench.speed.every import setup_of
from bench.speed.phases import shares
from bench.speed.roofline import Cost, cost_of_step, weighted
from bench.speed.rounds import CPU
from bench.speed.setup import Setup
from bench.variant import SGD, Adam, Draw, Ema, Phase, Player, Recipe, Variant


class Line(Variant):
    """One matrix of 10 x 64, on 4 images; `repeat`, `every` and what moves it come from outside."""

    name = "line"
    recipes = {"common": {"grey": Recipe(steps=10)}}
    player: Mapping[str, Any] = {}

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        return {"classifier": lambda: Once()}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("main", 1.0, (Player("classifier", ("classifier",), self.loss, 0.1, **self.player),)),)

    def draws(self) -> Mapping[str, Draw]:
        return {"unlabelled": Draw(4, "unlabelled")}

    def loss(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> tuple[Tensor, dict[str, Tensor]]:
        return nets.classifier(batch["unlabelled"]).square().mean(), {}


class Once(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10, 64))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


PRODUCTS = 2 * 2 * 4 * 64 * 10  # forward, and the gradient of the weights; the images need none
OPERANDS = 2 * (4 * 64 + 64 * 10 + 4 * 10)  # numbers: images, weights and results, and the same for the gradient


@pytest.mark.parametrize(
    ("player", "products", "per_weight"),
    [
        ({}, 1, 7),
        ({"ema": Ema(0.5)}, 1, 10),
        ({"optimiser": SGD()}, 1, 5),
        ({"optimiser": Adam(eps_inside=True), "repeat": 3}, 3, 21),
    ],
)
def test_a_step_by_hand(
    player: dict[str, Any], products: int, per_weight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Line, "player", player)
    data = synthetic("grey", 10)
    found = cost_of_step(Setup(Line, Line.recipes["common"]["grey"], data).plain("main"))
    assert found == (products * PRODUCTS, 4 * (products * OPERANDS + per_weight * 640))


def test_the_bound_is_the_larger_time() -> None:
    """6 operations at 2 a second take 3 s; 8 bytes at 4 a second 2 s, at 1 a second 8 s."""
    assert Cost(6, 8).seconds(2, 4) == 3
    assert Cost(6, 8).seconds(2, 1) == 8


def test_phases_weigh_by_their_steps() -> None:
    assert weighted([(0.2, Cost(10, 1)), (0.6, Cost(30, 5))]) == (pytest.approx(25), pytest.approx(4))


@pytest.mark.parametrize("name", ["fm", "triple"])
def test_operations_are_those_of_a_runs_training(name: str, digits: Dataset) -> None:
    """Counted once more, without data or numbers, by `bench.execution.cost`."""
    (run,) = plan(Options(variants=name, labels="100", seeds="1"), digits)
    setup = setup_of(registry.get(name), "common", digits)
    parts = [(share, cost_of_step(setup.plain(phase, CPU))) for phase, share in shares(setup.made()).items()]
    assert weighted(parts).flops * run.steps == training_flops(run)
