"""What a step of the common recipe for colour images costs."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench import registry
from bench.conformance.cases import synthetic
from bench.datasets import Dataset, make_split
from bench.grid import task_of
from bench.training.trainer import Trainer

MOST = 20e9  # floating point operations of a run-step, within reach of a CPU
BUDGET, STEPS = 4000, 6
LEARNING = [n for n in registry.names() if "colour" in registry.get(n).recipes["common"] and n != "majority"]


@cache
def colour() -> Dataset:
    return synthetic("cifar10", 10, train=BUDGET + 500)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_a_step_on_colour_images_is_within_reach_of_a_cpu(name: str) -> None:
    """All players, forwards and backwards; not a phase's first step, which also measures how much noise it reads."""
    kind, data = registry.get(name), colour()
    recipe = kind.recipe_for("common", "cifar10", "colour").model_copy(update={"evaluations": 1})
    variant = kind(task_of(data, BUDGET, 0, None), recipe)
    split = make_split(data, seed=0, budget=BUDGET, selection="balanced")
    trainer = Trainer(variant, data, [split], [0], STEPS, torch.device("cpu"))
    costs: dict[str, int] = {}
    while trainer.at < STEPS - 1:  # the last step is followed by an evaluation
        phase = trainer.schedule.phase(trainer.at).name
        with FlopCounterMode(display=False) as counter:
            trainer.step()
        costs[phase] = counter.get_total_flops()
    assert min(costs.values()) > 0
    assert max(costs.values()) <= MOST
