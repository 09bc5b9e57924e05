"""The class that most labelled images have, whatever the image: what any classifier must beat.

L = mean_lab CE(b, y): the logits are one bias per class, which converges to the classes' log frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Adam, Draw, Nets, Noise, Phase, Player, Recipe, ShapeClass, State, Variant, setting
from variants.parts.two_player import Loss

SHAPES: tuple[ShapeClass, ...] = ("vector", "grey", "colour", "large")


class Bias(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, images: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        """The same logits for all `images [batch, ...]`: `[batch, K]`."""
        return self.bias.expand(len(images), -1)


class MajorityRecipe(Recipe):
    batch: int = setting(100, "labelled images per step", ge=1, batch=True)


class Majority(Variant):
    name = "majority"
    beats_chance = False
    recipe_type = MajorityRecipe
    recipe: MajorityRecipe
    recipes = {
        protocol: {shape: MajorityRecipe(steps=300, lr=0.03, evaluations=3) for shape in SHAPES}
        for protocol in ("common", "paper")
    }

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        return {"classifier": lambda: Bias(self.task.classes)}

    def draws(self) -> Mapping[str, Draw]:
        return {"labelled": Draw(self.recipe.batch, "labelled", "tiled")}

    def steps_per_epoch(self) -> int:
        return max(1, self.task.labelled // self.recipe.batch)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("main", 1.0, (Player("classifier", ("classifier",), self.loss, self.recipe.lr, Adam()),)),)

    def loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        images, labels = batch["labelled"]
        return F.cross_entropy(nets.classifier(images, noise), labels), {}

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.classifier(images)
