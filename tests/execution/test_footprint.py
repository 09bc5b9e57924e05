"""Bytes of a run, counted by hand for a small network, and against a trainer's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import registry
from bench.datasets import Dataset
from bench.execution.cohorts import LARGEST_ON_GPU, free_on, largest_on_gpu, variant_of
from bench.execution.footprint import Footprint, footprint
from bench.execution.worker import prepare
from bench.grid import Options, Run, plan
from bench.training.memory import state_bytes
from bench.variant import SGD, Draw, Ema, Nets, Noise, Phase, Player, Recipe, State, Variant

MIB = 2**20


class Small(Variant):
    """A layer [64, 32] and its exponential, which is kept for the backward pass."""

    name = "small"
    recipes = {"common": {"grey": Recipe(steps=4, evaluations=1)}}
    optimiser: Any = SGD(momentum=0.0)
    ema: Ema | None = None
    historical_weight = 0.0

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        return {"classifier": lambda: nn.Linear(64, 32)}

    def draws(self) -> Mapping[str, Draw]:
        return {"labelled": Draw(1000, "labelled", "tiled")}

    def phases(self) -> tuple[Phase, ...]:
        player = Player("classifier", ("classifier",), self.loss, 0.1, self.optimiser, ema=self.ema)
        return (Phase("main", 1.0, (replace(player, historical_weight=self.historical_weight),)),)

    def constants(self, images: Any) -> dict[str, Tensor]:
        return {"table": torch.zeros(3, 5)}

    def loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Any:
        return nets.classifier(batch["labelled"].images.flatten(1)).exp().sum(), {}

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.classifier(images.flatten(1))[:, :10]


class Curious(Small):
    """Its loss asks for a number, which only real data could answer."""

    name = "curious"

    def loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Any:
        assert batch["labelled"].images.sum() > 0
        return super().loss(nets, batch, noise, state, progress)


@pytest.fixture(autouse=True)
def _variants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_plugins", {"small": Small, "curious": Curious})


def _runs(variant: str, dataset: Dataset, **options: Any) -> list[Run]:
    return plan(Options(**{"variants": variant, "labels": "20", "seeds": "1"} | options), dataset)


def _found(variant: str, dataset: Dataset) -> Footprint | None:
    return footprint(variant_of(_runs(variant, dataset)[0], dataset))


WEIGHTS = 64 * 32 + 32
BATCH = 1000 * (64 * 4 + 8)  # images as float32, labels as int64


@pytest.mark.parametrize(
    ("fields", "copies"),
    [
        ({}, 2),  # weights and gradients
        ({"optimiser": SGD(momentum=0.9)}, 3),
        ({"ema": Ema(0.9)}, 3),
        ({"historical_weight": 0.5}, 3),
    ],
)
def test_what_a_run_keeps_by_hand(
    fields: dict[str, Any], copies: int, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in fields.items():
        monkeypatch.setattr(Small, name, value)
    found = _found("small", digits)
    assert found is not None
    assert found.kept == 4 * copies * WEIGHTS + BATCH
    assert found.shared == 4 * 15


def test_what_passes_within_an_update_by_hand(digits: Dataset) -> None:
    """The backward pass begins with x W + b (freed after exp), exp's result, and grows by a gradient of its size."""
    found = _found("small", digits)
    assert found is not None
    activation = 4 * 1000 * 32
    assert 2 * activation <= found.update <= 2.1 * activation


def test_stacked_runs_are_computed_at_once_others_one_by_one() -> None:
    one = Footprint(kept=10, update=100, evaluation=30, shared=7)
    assert one.of_cohort(5, stacked=True) == 7 + 50 + 500
    assert one.of_cohort(5, stacked=False) == 7 + 50 + 100
    assert one.of_cohort(5, stacked=True, captured=True) == 7 + 50 + 650


def test_what_cannot_be_told(digits: Dataset) -> None:
    assert _found("curious", digits) is None


@pytest.mark.parametrize("variant", ["fm", "triple"])
def test_kept_bytes_are_those_of_a_trainer(variant: str, digits: Dataset) -> None:
    """All but batch and noise: what the trainer holds after a step in each phase, less what pads a flat tensor."""
    runs = _runs(variant, digits, steps=2)
    trainer, _ = prepare(runs, digits, torch.device("cpu"))
    trainer.step()
    trainer.step()
    batch = trainer.batches.next(1)
    parts = [part for own in batch.values() for part in (own if isinstance(own, tuple) else (own,))]
    tape = max(4 * (lengths.normal + lengths.uniform) for lengths in trainer.lengths.values())
    expected = state_bytes(trainer) + sum(t.numel() * t.element_size() for t in parts) + tape
    found = _found(variant, digits)
    assert found is not None
    flats = sum(len(list(o.state)) for o in trainer.optimisers.values()) * 2 + 3 * len(trainer.networks)
    assert 0 <= expected - found.kept <= 4 * 64 * flats


def test_a_gpu_gets_as_many_runs_as_its_memory_holds() -> None:
    # of 1000 MiB 800 are for 60 + 100 a run
    one, data = Footprint(kept=10 * MIB, update=70 * MIB, evaluation=20 * MIB, shared=40 * MIB), 20 * MIB
    assert largest_on_gpu(one, data, 1000 * MIB, jobs=1) == 7
    assert largest_on_gpu(one, data, 1075 * MIB, jobs=1) == 8
    assert largest_on_gpu(one, data, 2000 * MIB, jobs=2) == 7
    assert largest_on_gpu(one, data, 50 * MIB, jobs=1) == 1
    assert largest_on_gpu(one, data, 2**50, jobs=1) == LARGEST_ON_GPU
    assert largest_on_gpu(one, data, None, jobs=1) == LARGEST_ON_GPU


def test_a_cpu_has_no_device_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a GPU, too."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert free_on(torch.device("cpu")) is None
