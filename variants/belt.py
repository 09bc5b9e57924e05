"""An oracle for two-circles: the complement generator as the theory has it, which samples the belt between the rings.

    L_D = mean_lab CE(l(x), y) - w/2 mean_unl log D(x) - w/2 mean_belt log(1 - D(x)),  D = Z / (Z + 1),  Z = sum exp l_k

Classifier and loss are those of `fm` and `option2`; in place of generated points there are points of radius
0.75 +- 0.025 in all directions, as measured on the slides that state the claim (the complement generator of Dai et al.,
arXiv:1705.09783, section 3, moves the boundary into the gap between the classes). It knows what no method can know: an
upper bound, not a competitor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Adam, Draw, Ema, Nets, Noise, Phase, Player, Recipe, State, Variant, Width, setting
from variants.fm import TUNED
from variants.parts.heads import k_logits_score
from variants.parts.losses import accuracy, fake_loss, real_loss
from variants.parts.networks.mlp import noisy_classifier
from variants.parts.recipes import COMMON, COMMON_FIXED, COMMON_SEARCH
from variants.parts.two_player import Loss

RADIUS, WIDTH = 0.75, 0.025


class BeltRecipe(Recipe):
    batch: int = setting(50, "labelled, unlabelled and belt points per step, each", ge=1, batch=True)
    initial_batch: int = setting(500, "points for the data-dependent initialisation", ge=2, batch=True)
    classifier: tuple[Width, ...] = setting((128, 128), "hidden widths of the classifier", min_length=1)
    input_noise: float = setting(0.1, "standard deviation of the noise on the points", ge=0, le=10)
    hidden_noise: float = setting(0.0, "standard deviation of noise before further layers", ge=0, le=10)
    beta1: float = setting(0.5, "Adam's decay of the first moment", ge=0, lt=1)
    ema_decay: float = setting(0.98, "decay of the averaged weights", gt=0, lt=1)
    unsupervised_weight: float = setting(1.0, "w, weight of the terms without labels", ge=0, le=100)


class Belt(Variant):
    name = "belt"
    recipe_type = BeltRecipe
    recipe: BeltRecipe
    recipes = {
        "common": {"vector": BeltRecipe(**{**COMMON_FIXED, **COMMON["vector"], **TUNED["vector"]})},
    }

    search = COMMON_SEARCH

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        r, task = self.recipe, self.task
        return {
            "discriminator": lambda: noisy_classifier(
                task, r.classifier, task.classes, input_noise=r.input_noise, hidden_noise=r.hidden_noise
            )
        }

    def draws(self) -> Mapping[str, Draw]:
        return {"labelled": Draw(self.recipe.batch, "labelled", "tiled"), "unlabelled": Draw(self.recipe.batch, "all")}

    def initial_draws(self) -> Mapping[str, Draw]:
        return {"images": Draw(self.recipe.initial_batch, "all")}

    def initialise(self, nets: Nets, batch: Mapping[str, Any], noise: Noise) -> None:
        nets.discriminator.calibrate(batch["images"], noise)

    def phases(self) -> tuple[Phase, ...]:
        r = self.recipe
        adam, ema = Adam((r.beta1, 0.999)), Ema(r.ema_decay)
        player = Player("discriminator", ("discriminator",), self.loss, r.lr, adam, ema=ema)
        return (Phase("main", 1.0, (player,)),)

    def generate(self, nets: Nets, noise: Noise, labels: Tensor) -> Tensor:
        """Points `[batch, 2]` of the belt (with more features: of a shell)."""
        direction, radius = noise.normal(len(labels), self.task.features), RADIUS + WIDTH * noise.normal(len(labels), 1)
        return radius * direction * direction.square().sum(-1, keepdim=True).rsqrt()

    def loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        labelled, labels = batch["labelled"]
        images = torch.cat([labelled, batch["unlabelled"], self.generate(nets, noise, labels)])
        l_lab, l_unl, l_belt = nets.discriminator(images, noise).split(self.recipe.batch)
        supervised = F.cross_entropy(l_lab, labels)
        real, fake = real_loss(k_logits_score(l_unl)), fake_loss(k_logits_score(l_belt))
        loss = supervised + self.recipe.unsupervised_weight * (0.5 * real + 0.5 * fake)
        return loss, {"supervised": supervised, "real": real, "fake": fake, "accuracy": accuracy(l_lab, labels)}

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.discriminator(images)
