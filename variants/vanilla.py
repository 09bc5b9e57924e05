"""The unconditional GAN of Goodfellow et al. (arXiv:1406.2661), whose frozen features then carry a classifier.

First phase, without any label:    L_D = -1/2 mean_unl log D(x) - 1/2 mean_gen log(1 - D(G(z))),    D = sigmoid(d)
                                   L_G = -mean_gen log D(G(z))                    (the non-saturating form)
Second phase, D and G left alone:  L_H = mean_lab CE(h(f(x)), y),    f: D's last hidden layer, with its noise

What a GAN has learnt before it sees a label: the background system of the semi-supervised methods, which train both
together. On digits it does not reach the supervised baseline (reports/digits.md): features that were learnt without a
label and then frozen serve worse than features that a few labels shape. There is no paper of this pair; the recipe
`paper` takes FM-GAN's networks, optimiser and number of epochs, of which the head `h`, a single layer, gets the last
tenth; for images above 32 pixels and for cats and dogs the DCGAN and ResNet-18 of O. Petrova's code, whose slides have
this GAN as their background.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Choice, Nets, Noise, Phase, State, setting
from variants.parts.losses import accuracy, fake_loss, real_loss
from variants.parts.networks.choice import classifier, generator
from variants.parts.recipes import (
    CIFAR10,
    CLASSIFIER_FIXED,
    COMMON_SEARCH,
    DECONVOLUTIONS,
    LARGE,
    FeatureRecipe,
    Network,
    SourceRecipe,
    common,
    label_smoothing,
    source_network,
)
from variants.parts.two_player import Featured, Loss


class VanillaRecipe(FeatureRecipe, SourceRecipe):
    network: Network = source_network()
    head_from: float = setting(0.9, "share of the steps after which the GAN rests and the head is trained", gt=0, lt=1)
    smoothing: float = label_smoothing()


# "digits" was found by `bench tune` on validation images, 20 trials (results/reference/tuning). The others are not
# tuned yet: a starting point that no comparison should rest on.
START: dict[str, Any] = {"lr": 2e-3, "input_noise": 0.2, "hidden_noise": 0.2, "ema_decay": 0.98, "head_from": 0.5}
TUNED: dict[str, dict[str, Any]] = {
    "digits": {
        "beta1": 0.5,
        "ema_decay": 0.99,
        "head_from": 0.7,
        "hidden_noise": 0.2,
        "input_noise": 0.2,
        "lr": 0.00352,
    },
    "grey": START,
    "vector": START,
}


class Vanilla(Featured):
    name = "vanilla"
    recipe_type = VanillaRecipe
    recipe: VanillaRecipe
    recipes = {
        "paper": {
            "grey": VanillaRecipe(epochs=300, lr=3e-3, evaluations=60, evaluate_with="ema"),
            "colour": VanillaRecipe(**CIFAR10, **DECONVOLUTIONS),
            "large": VanillaRecipe(**LARGE, latent="normal"),
            "cats-dogs": VanillaRecipe(**LARGE, latent="normal"),
        },
        "common": common(VanillaRecipe, {**CLASSIFIER_FIXED, "generator": (128, 128)}, TUNED),
    }
    search = {**COMMON_SEARCH, "head_from": Choice((0.3, 0.5, 0.7, 0.9))}

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        r, task = self.recipe, self.task
        return {
            "discriminator": lambda: classifier(task, r, 1),
            "generator": lambda: generator(task, r),
            "head": lambda: classifier(task, r.model_copy(update={"minibatch_kernels": 0}), task.classes).head,
        }

    def initialise(self, nets: Nets, batch: Mapping[str, Any], noise: Noise) -> None:
        nets.discriminator.calibrate(batch["images"], noise)
        self.initialise_generator(nets, noise)

    def phases(self) -> tuple[Phase, ...]:
        r = self.recipe
        rivals = (
            self.player("discriminator", self.discriminator_loss),
            self.player("generator", self.generator_loss),
        )
        head = self.player("head", self.head_loss, ema=r.ema())
        return Phase("gan", r.head_from, rivals), Phase("head", 1 - r.head_from, (head,))

    def discriminator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        fake = self.fakes(nets, noise)
        d_unl, d_gen = self.answers(nets.discriminator, noise, batch["unlabelled"], fake, followed=0)
        real, fake = real_loss(self.score(d_unl), self.recipe.smoothing), fake_loss(self.score(d_gen))
        return 0.5 * real + 0.5 * fake, {"real": real, "fake": fake}

    def generator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        _, weighted, terms = self.generator_terms(nets, batch, noise)
        return sum(weighted[1:], start=weighted[0]), terms if len(terms) > 1 else {}

    def head_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        images, labels = batch["labelled"]
        logits = nets.head(nets.discriminator(images, noise, features=1), noise)
        return F.cross_entropy(logits, labels), {"accuracy": accuracy(logits, labels)}

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.head(nets.discriminator(images, features=1))
