"""Toy GAN: a small variant that conforms, as an author outside the house would write it; the tests break it in turn.

L_D = mean_lab CE(l(x), y) + w mean_unl softplus(-s(x)) + w mean_gen softplus(s(G(z))),  s = logsumexp_k l_k
L_G = mean_gen softplus(-s(G(z)))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Draw, Ema, Nets, Noise, Phase, Player, Recipe, State, Task, Variant, setting


class Classifier(nn.Module):
    """One hidden layer; images are centred by a running mean."""

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(task.features, width), nn.ReLU(), nn.Linear(width, task.classes))
        self.register_buffer("mean", torch.zeros(task.features))

    def forward(self, images: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        x = images.flatten(1)
        if update:
            self.mean.mul_(0.9).add_(0.1 * x.mean(0))
        x = x - self.mean
        return self.layers(x if noise is None else x + 0.1 * noise.normal(*x.shape))


class Generator(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task, self.layer = task, nn.Linear(8, task.features)

    def forward(self, z: Tensor) -> Tensor:
        low, high = self.task.value_range or (-2.0, 2.0)
        return (low + (high - low) * F.logsigmoid(self.layer(z)).exp()).view(-1, *self.task.image_shape)


class ToyRecipe(Recipe):
    batch: int = setting(20, "labelled, unlabelled and generated images per step, each", ge=1, batch=True)
    width: int = setting(32, "hidden units", ge=1)
    weight: float = setting(0.3, "w, on the terms without labels", ge=0, le=10)


class Toy(Variant):
    name = "toy"
    recipe_type = ToyRecipe
    recipes = {"common": {k: ToyRecipe(steps=200, lr=1e-2, evaluate_with="ema") for k in ("vector", "grey", "colour")}}

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        return {
            "classifier": lambda: Classifier(self.task, self.recipe.width),
            "generator": lambda: Generator(self.task),
        }

    def draws(self) -> Mapping[str, Draw]:
        return {
            "labelled": Draw(self.recipe.batch, "labelled", "tiled"),
            "unlabelled": Draw(self.recipe.batch, "unlabelled"),
        }

    def phases(self) -> tuple[Phase, ...]:
        classifier = Player("classifier", ("classifier",), self.classifier_loss, self.recipe.lr, ema=Ema(0.9))
        return (
            Phase("main", 1.0, (classifier, Player("generator", ("generator",), self.generator_loss, self.recipe.lr))),
        )

    def classifier_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Any:
        images, labels = batch["labelled"]
        supervised = F.cross_entropy(nets.classifier(images, noise), labels)
        real = self.score(nets.classifier(batch["unlabelled"], noise, update=True))
        fake = self.score(nets.classifier(self.fakes(nets, noise), noise))
        unsupervised = -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()
        return supervised + self.recipe.weight * unsupervised, {"supervised": supervised}

    def generator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Any:
        return -F.logsigmoid(self.score(nets.classifier(self.fakes(nets, noise), noise))).mean(), {}

    def score(self, logits: Tensor) -> Tensor:
        return logits.logsumexp(-1)

    def fakes(self, nets: Nets, noise: Noise) -> Tensor:
        return nets.generator(noise.uniform(self.recipe.batch, 8))

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.classifier(images)

    def generate(self, nets: Nets, noise: Noise, labels: Tensor) -> Tensor:
        return nets.generator(noise.uniform(len(labels), 8))
