"""Each technique of each variant, switched: which of a step's terms it moves, adds or takes away, and which it may not.

Learning rates are next to nothing, so that every player of the step judges the initial weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import registry
from bench.datasets import Dataset, load, make_split
from bench.grid import task_of
from bench.training.trainer import Trainer
from bench.variant import Recipe

TINY_LR = 1e-30
GENERATORS = ("generator/*", "bad_generator/*")
OF_FAKES = (
    *GENERATORS, "*/fake", "*/fake_entropy", "*/generated", "*/pseudo", "*/manifold", "*/share", "discriminator/loss",
    "classifier/loss",
)  # fmt: skip
MAY_MOVE: Mapping[str, tuple[str, ...]] = {
    "label-smoothing": ("discriminator/real", "discriminator/loss"),
    "historical-averaging": (),  # nothing yet: at the first step the weights are their average
    "pull-away": ("*generator/loss", "*generator/pull_away"),
    "feature-matching": GENERATORS,
    "virtual-batch-norm": OF_FAKES,
    "minibatch-discrimination": ("*",),  # the discriminator is another network
    "low-density": ("generator/low_density", "generator/above", "generator/nats", "generator/loss", "density/*"),
    "variational-entropy": ("generator/variational", "generator/loss"),
    "conditional-entropy": ("discriminator/entropy", "discriminator/loss"),
    "consistency": ("discriminator/consistency", "discriminator/loss"),
    "manifold": ("discriminator/share", "discriminator/loss", "classifier/loss"),
    "adversarial-term": ("classifier/loss",),
    "pseudo-labels": ("classifier/loss",),
    "confidence": ("classifier/loss",),
    "balance": ("classifier/loss",),
    "bad-generator": ("classifier/loss",),
}
# A loss of one term logs no terms; with a second one it logs both
MAY_APPEAR = ("generator/matching", "generator/adversarial")
# margin's classifier steps last, and its noise comes after that of the generator's new term
LATER = {("margin", "feature-matching"): ("classifier/*",)}
# of pairs 1e-5 apart, the first step's squared change is below the loss's last digit
TOO_SMALL = {("ugan", "manifold")}
SWITCHES = [(name, technique) for name in registry.names() for technique in registry.get(name).techniques]


@cache
def digits() -> Dataset:
    return load("digits", Path())


def quiet(recipe: Recipe) -> Recipe:
    """The recipe with step sizes next to nothing, and its last phase from the start where an earlier one is short."""
    fields = type(recipe).model_fields
    rates = {n: TINY_LR for n in fields if n.endswith("lr") and getattr(recipe, n) is not None}
    early = {"pretrain_epochs": 0, "pseudo_from": 0.0, "evaluations": 1}
    return recipe.model_copy(update=rates | {n: value for n, value in early.items() if n in fields})


def first_step(variant: str, recipe: Recipe) -> dict[str, float | None]:
    """The logs of one step by `player/term`."""
    kind, dataset = registry.get(variant), digits()
    split = make_split(dataset, seed=0, budget=50, selection="balanced")
    trainer = Trainer(kind(task_of(dataset, 50, 0, None), recipe), dataset, [split], [0], 1, torch.device("cpu"))
    trainer.train()
    return {name: values[-1] for name, values in trainer.curves.run(0)[1].items()}


@pytest.mark.parametrize(
    ("variant", "technique"),
    # a third axis of every batch, which takes its time; the others share fm's
    [pytest.param(v, t, marks=pytest.mark.slow if t == "minibatch-discrimination" and v != "fm" else ())
     for v, t in SWITCHES],
)  # fmt: skip
def test_a_switch_moves_what_it_should_and_nothing_else(variant: str, technique: str) -> None:
    kind = registry.get(variant)
    base = quiet(kind.recipe_for("common", "digits", "grey"))
    switch = kind.techniques[technique]
    fields: dict[str, Any] = {**(switch.off if switch.is_on(base) else switch.on)}
    switched = kind.recipe_type.model_validate(base.model_dump() | fields)
    assert switch.is_on(switched) != switch.is_on(base)
    before, after = first_step(variant, base), first_step(variant, switched)
    moved = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    come_or_gone = before.keys() ^ after.keys()
    allowed = MAY_MOVE[technique] + LATER.get((variant, technique), ())
    assert {name for name in moved if not any(fnmatch(name, pattern) for pattern in allowed)} == set()
    assert {name for name in come_or_gone if not any(fnmatch(name, p) for p in allowed + MAY_APPEAR)} == set()
    if MAY_MOVE[technique] and (variant, technique) not in TOO_SMALL:
        assert moved | come_or_gone
