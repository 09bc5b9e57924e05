"""The semi-supervised GAN of chapter 7 of GANs in Action (Langr and Bok; code: GANs-in-Action/gans-in-action).

    s(x) = logsumexp_k l_k(x),  D(x) = 1 - 1 / (sum_k e^{l_k} + 1) = sigmoid(s(x))
    first    L_C = mean_lab CE(l(x), y)
    then     L_D = -1/2 mean_unl log D(x) - 1/2 mean_gen log(1 - D(G(z)))
    then     L_G = -mean_gen log D(G(z))

The head and the generator's loss are those of `option2`; but the label term has a step of its own, with an optimiser
state of its own over the same weights. Images are drawn with replacement, the labelled ones are never unlabelled.

1. There real and generated images make two further steps of one optimiser; here one step of their mean.
2. Batch norm's running statistics there mix labelled, unlabelled and generated images; here they are the unlabelled's.
3. Historical averaging, where it is switched on, joins the discriminator's own step, not the label term's. Further
   techniques on these networks: `option2` with `network: sgan`.
4. `common` has the classifier of the other methods, whose weights are normalised without batch norm; on colour images
   it keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Adam, Draw, Ema, Nets, Noise, Phase, Player, Recipe, State, Variant, Width, setting
from variants.fm import TUNED as FM_TUNED
from variants.parts.heads import k_logits_score
from variants.parts.losses import accuracy, fake_loss, real_loss
from variants.parts.networks.mlp import LATENT, NO_MINIBATCH, Norm, generator, noisy_classifier
from variants.parts.networks.sources import EPS, source_classifier, source_generator
from variants.parts.recipes import COMMON, COMMON_SEARCH, historical_averaging, label_smoothing
from variants.parts.two_player import HISTORICAL_AVERAGING, LABEL_SMOOTHING, Loss

PERCEPTRON: dict[str, Any] = {"unused_if": {"network": "sgan"}}


class SGANRecipe(Recipe):
    network: Literal["sgan", "mlp"] = setting("sgan", "the book's convolutions, or FM-GAN's perceptrons")
    batch: int = setting(32, "labelled, unlabelled and generated images per step, each", ge=2, batch=True)
    beta1: float = setting(0.9, "Adam's decay of the first moment", ge=0, lt=1)
    dropout: float = setting(0.5, "before the last layer", ge=0, lt=1, unused_if={"network": "mlp"})
    ema_decay: float = setting(0.99, "decay of the averaged weights", gt=0, lt=1)
    classifier: tuple[Width, ...] = setting((256, 128, 64), "hidden widths", min_length=1, **PERCEPTRON)
    generator: tuple[Width, ...] = setting((128, 128), "hidden widths of the generator", min_length=1, **PERCEPTRON)
    input_noise: float = setting(0.2, "noise on the pixels", ge=0, le=10, **PERCEPTRON)
    hidden_noise: float = setting(0.2, "noise on hidden layers", ge=0, le=10, **PERCEPTRON)
    initial_batch: int = setting(500, "for the data-dependent initialisation", ge=2, batch=True, **PERCEPTRON)
    smoothing: float = label_smoothing()
    historical_weight: float = historical_averaging()


def _common(key: str) -> SGANRecipe:
    tuned = {k: v for k, v in FM_TUNED["grey" if key == "colour" else key].items() if k != "unsupervised_weight"}
    if key == "colour":
        return SGANRecipe(batch=50, evaluate_with="ema", steps=COMMON[key]["steps"], lr=tuned["lr"])
    return SGANRecipe(**{"network": "mlp", "batch": 50, "evaluate_with": "ema", **COMMON[key], **tuned})


class SGAN(Variant):
    name = "sgan"
    recipe_type = SGANRecipe
    recipe: SGANRecipe
    recipes = {
        "paper": {"grey": SGANRecipe(steps=8000, lr=1e-3, evaluations=40)},
        # Not tuned: the values found for `fm`.
        "common": {key: _common(key) for key in COMMON},
    }
    search = COMMON_SEARCH
    techniques = {"label-smoothing": LABEL_SMOOTHING, "historical-averaging": HISTORICAL_AVERAGING}

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        r, task = self.recipe, self.task
        if r.network == "sgan":
            norm = Norm(gain=True, eps=EPS)
            return {
                "discriminator": lambda: source_classifier(
                    "sgan", task, task.classes, input_dropout=0.0, hidden_dropout=r.dropout, running=True,
                    minibatch=NO_MINIBATCH,
                ),
                "generator": lambda: source_generator("sgan", task, norm),
            }  # fmt: skip
        return {
            "discriminator": lambda: noisy_classifier(
                task, r.classifier, task.classes, input_noise=r.input_noise, hidden_noise=r.hidden_noise
            ),
            "generator": lambda: generator(task, r.generator),
        }

    def draws(self) -> Mapping[str, Draw]:
        batch = self.recipe.batch
        return {
            "labelled": Draw(batch, "labelled", "replacement"),
            "unlabelled": Draw(batch, "unlabelled", "replacement"),
        }

    def initial_draws(self) -> Mapping[str, Draw]:
        return {} if self.recipe.network == "sgan" else {"images": Draw(self.recipe.initial_batch, "all")}

    def initialise(self, nets: Nets, batch: Mapping[str, Any], noise: Noise) -> None:
        nets.discriminator.calibrate(batch["images"], noise)

    def phases(self) -> tuple[Phase, ...]:
        r = self.recipe
        adam, ema = Adam((r.beta1, 0.999)), Ema(r.ema_decay)
        classifier, discriminator, generator = (
            Player("classifier", ("discriminator",), self.classifier_loss, r.lr, adam, ema=ema),
            Player("discriminator", ("discriminator",), self.discriminator_loss, r.lr, adam),
            Player("generator", ("generator",), self.generator_loss, r.lr, adam),
        )
        adversaries = (replace(p, historical_weight=r.historical_weight) for p in (discriminator, generator))
        return (Phase("main", 1.0, (classifier, *adversaries)),)

    def generate(self, nets: Nets, noise: Noise, labels: Tensor) -> Tensor:
        return nets.generator(noise.normal(len(labels), LATENT), noise)

    def classifier_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        images, labels = batch["labelled"]
        logits = nets.discriminator(images, noise)
        return F.cross_entropy(logits, labels), {"accuracy": accuracy(logits, labels)}

    def discriminator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        unlabelled = batch["unlabelled"]
        l_unl = nets.discriminator(unlabelled, noise, update=True)
        l_gen = nets.discriminator(nets.generator(noise.normal(len(unlabelled), LATENT), noise), noise)
        real, fake = real_loss(k_logits_score(l_unl), self.recipe.smoothing), fake_loss(k_logits_score(l_gen))
        return 0.5 * real + 0.5 * fake, {"real": real, "fake": fake}

    def generator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        images = nets.generator(noise.normal(self.recipe.batch, LATENT), noise)
        return real_loss(k_logits_score(nets.discriminator(images, noise))), {}

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.discriminator(images)
