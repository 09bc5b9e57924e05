"""The classifier alone on the labelled images: what every method has to beat.

    L = mean_lab CE(l(x), y)

Same network, optimiser, batch size and number of updates as the two-player variants; it never sees an unlabelled image,
not even for its data-dependent initialisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import SGD, Draw, Nets, Noise, Phase, Player, State, Variant, setting
from variants.parts.losses import accuracy
from variants.parts.networks.choice import classifier
from variants.parts.recipes import (
    CIFAR10,
    CLASSIFIER_FIXED,
    COMMON_SEARCH,
    LARGE,
    SVHN,
    SourceRecipe,
    common,
    historical_averaging,
)
from variants.parts.two_player import HISTORICAL_AVERAGING

# Found by `bench tune` on validation images of digits, MNIST and two-circles, 20 trials each
# (results/reference/tuning); other grey and colour images take MNIST's,
# other vectors those of two-circles.
TUNED: dict[str, dict[str, Any]] = {
    "digits": {
        "beta1": 0.9,
        "ema_decay": 0.99,
        "hidden_noise": 0.2,
        "input_noise": 0.3,
        "lr": 0.000547,
    },
    "grey": {
        "beta1": 0.9,
        "ema_decay": 0.98,
        "hidden_noise": 0.1,
        "input_noise": 0.4,
        "lr": 0.00242,
    },
    "vector": {
        "beta1": 0.9,
        "ema_decay": 0.98,
        "hidden_noise": 0.1,
        "input_noise": 0.1,
        "lr": 0.00821,
    },
}


class SupervisedRecipe(SourceRecipe):
    optimiser: Literal["adam", "sgd"] = setting("adam", "Adam, or gradient descent with momentum", neutral="adam")
    momentum: float = setting(0.9, "of gradient descent", ge=0, lt=1, neutral=0.9, unused_if={"optimiser": "adam"})
    weight_decay: float = setting(
        0.0, "lambda of gradient descent on L + lambda/2 |weights|^2", ge=0, le=1, neutral=0.0,
        unused_if={"optimiser": "adam"},
    )  # fmt: skip
    beta1: float = setting(0.5, "Adam's decay of the first moment", ge=0, lt=1, unused_if={"optimiser": "sgd"})
    eps_inside: bool = setting(
        True, "Adam's epsilon under the square root, as in the code of FM-GAN", unused_if={"optimiser": "sgd"}
    )
    historical_weight: float = historical_averaging()


class Supervised(Variant):
    name = "supervised"
    recipe_type = SupervisedRecipe
    recipe: SupervisedRecipe
    recipes = {
        "paper": {
            "grey": SupervisedRecipe(epochs=300, lr=3e-3, evaluations=60, evaluate_with="ema"),
            "svhn": SupervisedRecipe(**SVHN),
            "colour": SupervisedRecipe(**CIFAR10),
            "large": SupervisedRecipe(**LARGE),
            "cats-dogs": SupervisedRecipe(**LARGE),
        },
        "common": common(SupervisedRecipe, CLASSIFIER_FIXED, TUNED, colour={}),
    }
    search = COMMON_SEARCH
    techniques = {"historical-averaging": HISTORICAL_AVERAGING}

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        return {"classifier": lambda: classifier(self.task, self.recipe, self.task.classes)}

    def draws(self) -> Mapping[str, Draw]:
        return {"labelled": Draw(self.recipe.batch, "labelled", "tiled")}

    def steps_per_epoch(self) -> int:
        """As many as the others take: one pass over the whole training set, which this variant does not see."""
        return max(1, (self.task.labelled + self.task.unlabelled) // self.recipe.batch)

    def phases(self) -> tuple[Phase, ...]:
        r = self.recipe
        optimiser = SGD(r.momentum, r.weight_decay) if r.optimiser == "sgd" else r.adam()
        player = Player(
            "classifier", ("classifier",), self.loss, r.lr, optimiser, r.schedule(), ema=r.ema(),
            historical_weight=r.historical_weight,
        )  # fmt: skip
        return (Phase("main", 1.0, (player,)),)

    def initial_draws(self) -> Mapping[str, Draw]:
        return {"labelled": Draw(self.recipe.initial_batch, "labelled", "tiled")}

    def initialise(self, nets: Nets, batch: Mapping[str, Any], noise: Noise) -> None:
        nets.classifier.calibrate(batch["labelled"].images, noise)

    def loss(
        self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        images, labels = batch["labelled"]
        logits = nets.classifier(images, noise, update=True)
        return F.cross_entropy(logits, labels), {"accuracy": accuracy(logits, labels)}

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.classifier(images)
