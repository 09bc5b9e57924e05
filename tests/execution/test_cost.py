"""Operations of a training: worked out by hand, and against what torch counts while a trainer trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench import registry
from bench.datasets import Dataset
from bench.execution.cost import training_flops
from bench.execution.worker import prepare
from bench.grid import Options, Run, plan
from bench.grid.run import run_id
from bench.variant import Draw, Nets, Noise, Phase, Player, Recipe, State, Variant

STEPS = 11


def _runs(variant: str, dataset: Dataset, **options: Any) -> list[Run]:
    return plan(Options(**{"variants": variant, "labels": "50", "seeds": "1"} | options), dataset)


class Turns(Variant):
    """A classifier [64, 10] alone, then beside a head [64, 3] that moves rarely: two networks, two phases."""

    name = "turns"
    recipes = {"common": {"grey": Recipe(steps=STEPS, evaluations=1)}}
    built: list[str] = []

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        self.built.append(self.recipe.model_dump_json())
        return {"classifier": lambda: nn.Linear(64, 10), "head": lambda: nn.Linear(64, 3)}

    def draws(self) -> Mapping[str, Draw]:
        return {"labelled": Draw(8, "labelled", "tiled"), "unlabelled": Draw(5, "unlabelled")}

    def phases(self) -> tuple[Phase, ...]:
        classifier = Player("classifier", ("classifier",), self.loss, self.recipe.lr)
        head = Player("head", ("head",), self.head_loss, self.recipe.lr, every=4, repeat=3)
        return (
            Phase("never", 0.0, (head,)),
            Phase("first", 1.0, (classifier,)),
            Phase("second", 1.0, (classifier, head)),
        )

    def loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Any:
        images, labels = batch["labelled"]
        return F.cross_entropy(nets.classifier(images.flatten(1) + noise.normal(8, 64)), labels), {}

    def head_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Any:
        x = batch["unlabelled"].flatten(1)
        return nets.head(x).square().mean() + nets.classifier(x).mean(), {}  # the classifier arrives detached

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.classifier(images.flatten(1))


class Curious(Turns):
    """Its loss asks for a number, which only real data could answer."""

    name = "curious"

    def loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Any:
        assert batch["labelled"].images.sum() > 0
        return super().loss(nets, batch, noise, state, progress)


@pytest.fixture(autouse=True)
def _variants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_plugins", {"turns": Turns, "curious": Curious})


def test_phases_turns_and_repeats_by_hand(digits: Dataset) -> None:
    """5.5 steps per phase are rounded to 6 and 5; of the steps 6 to 10 only step 8 is a multiple of 4."""
    classifier = 2 * (2 * 8 * 64 * 10)  # forward, and the gradient of the weights
    head = 2 * (2 * 5 * 64 * 3) + 2 * 5 * 64 * 10
    (run,) = _runs("turns", digits)
    assert training_flops(run) == STEPS * classifier + 1 * 3 * head


def test_feature_matching_on_digits_by_hand(digits: Dataset) -> None:
    """Per step: D on labelled, unlabelled and generated images; G's images come anew, and D matches features twice."""
    (run,) = _runs("fm", digits)
    b, d, g = 50, [64, 256, 128, 64, 10], [100, 128, 128, 64]
    weights_d, weights_g = [i * o for i, o in pairwise(d)], [i * o for i, o in pairwise(g)]
    body = sum(weights_d[:-1])  # the features, before the last layer
    d_step = sum(weights_g) + 3 * sum(weights_d) + 3 * sum(weights_d) + 3 * sum(weights_d[1:])
    g_step = body + sum(weights_g) + body + body + sum(weights_g) + sum(weights_g[1:])
    assert run.steps == 1000
    assert training_flops(run) == 1000 * 2 * b * (d_step + g_step)


@pytest.mark.parametrize("name", ["bad", "majority", "triple"])
def test_as_much_as_torch_counts_in_training(name: str, digits: Dataset) -> None:
    """Without the passes that measure how much noise a loss reads."""
    (run,) = _runs(name, digits, steps=9)
    trainer, _ = prepare([run], digits, torch.device("cpu"))
    losses, counts = trainer.executor.losses, list[int]()

    def counted(*args: Any) -> Any:
        with FlopCounterMode(display=False) as counter:
            result = losses(*args)
        counts.append(counter.get_total_flops())
        return result

    trainer.executor.losses = counted  # type: ignore[method-assign]
    for _ in range(9):
        trainer.step()
    assert training_flops(run) == sum(counts)


def test_data_that_are_not_there(digits: Dataset) -> None:
    """One update on CIFAR-10: 100 labelled images, and 100 others twice, whitened by a matrix [3072, 3072] of the data;
    ten layers, the first of whose input needs no gradient."""
    kind, (other,) = registry.get("entmin"), _runs("entmin", digits)
    recipe = kind.recipe_for("paper", "cifar10", "colour").model_copy(update={"steps": 1})
    facts: dict[str, Any] = {
        "dataset_hash": "unknown", "budget": 4000, "selection": "balanced", "seed": 0, "steps": 1, "validation": 0,
        "unlabelled": None, "precision": None,
    }  # fmt: skip
    changed = {"id": run_id(kind, recipe, **facts), "recipe": recipe.model_dump(mode="json"), "dataset": "cifar10"}
    sides, kernels = [32, 32, 32, 16, 16, 16, 6, 6, 6, 1], [9, 9, 9, 9, 9, 9, 9, 1, 1, 1]
    widths = [3, 128, 128, 128, 256, 256, 256, 512, 256, 128, 10]
    layers = [s * s * k * i * o for s, k, (i, o) in zip(sides, kernels, pairwise(widths), strict=True)]
    expected = 2 * 300 * (3072 * 3072 + 3 * sum(layers) - layers[0])
    assert training_flops(other.model_copy(update=facts | changed)) == expected


def test_the_runs_of_a_cell_cost_one_count(digits: Dataset) -> None:
    Turns.built.clear()
    runs = _runs("turns", digits, labels="20,50", seeds="3", settings=["turns.lr=0.5"])
    planned = len(Turns.built)
    assert len({training_flops(run) for run in runs}) == 1
    assert len(Turns.built) == planned + 1


def test_nothing_is_known_of_strangers(digits: Dataset) -> None:
    (run,) = _runs("turns", digits)
    strangers = [
        {"variant": "nobody"}, {"id": "0" * 16}, {"dataset": "digits-16"}, {"dataset": "npz:digits.npz"},
        {"recipe": run.recipe | {"gone": 1}},
    ]  # fmt: skip
    assert [training_flops(run.model_copy(update=changed)) for changed in strangers] == [None] * 5
    assert training_flops(_runs("curious", digits)[0]) is None


def test_torch_is_left_as_it_was(digits: Dataset) -> None:
    (run,) = _runs("bad", digits, settings=["bad.lr=0.123"])  # counted for the first time
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    assert training_flops(run)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
