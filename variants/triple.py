"""Triple-GAN: classifier, conditional generator and pair discriminator (Li et al., arXiv:1703.02291).

With D(x, y) = sigmoid(d(x, y)), p = softmax(c(x)) and k(x) = argmax_k p_k(x):

    L_D = mean_{pos} -log D(x, y) + 1/2 mean_gen -log(1 - D(G(z, y), y)) + 1/2 mean_unl -log(1 - D(x, k(x)))
          (positives: labelled pairs and unlabelled images with k(x), under one mean)
    L_G = 1/2 mean_gen -log D(G(z, y), y)
    L_C = w_adv/2 mean_unl[max_k p_k(x) (-log D(x, k(x)))] + mean_lab CE + w_ent mean_unl H(p(x))
          + w_bal CE(uniform, mean_unl p) + wd |W_last|^2 + alpha_P mean_gen CE(c(G(z, y)), y)

`paper` follows the authors' code (zhenxuan00/triple-gan), which weighs -log D with the confidence where the article's
Algorithm 1 has log(1 - D). That confidence is the only path of the adversarial term to C. Deviations from the code:

1. The averaged classifier starts at the live weights instead of 0: its start is forgotten after some hundred steps.
2. The learning rate falls after every step instead of after every epoch, by the same factor over the schedule.
3. Running batch-norm statistics of C move in its own step only, with the unlabelled images.
4. On CIFAR-10 the images are whitened with 1e-3 added to the eigenvalues of their covariance; C's optimiser is plain
   Adam, which there resets what has become NaN; the consistency term is on from the start of its ramp.
4. Labelled images are tiled without end; images below 28 x 28 are enlarged for the convolutional classifier.
5. The entropy's logarithms and the cross-entropies come from log-softmax and are not clipped.
6. Running statistics and averages hold batch norm's variance, where the code's library holds its inverse square root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Choice, Draw, Ema, LogUniform, Nets, Noise, Phase, Player, State, Technique, Width, setting
from variants.parts.confident import Confident, ConfidentRecipe, Loss, Schedule
from variants.parts.losses import fake_loss, real_loss, softplus
from variants.parts.networks.mlp import LATENT
from variants.parts.networks.thirteen import ConvGenerator, ConvPairDiscriminator
from variants.parts.networks.triple import ConditionalGenerator, PairDiscriminator
from variants.parts.recipes import COLOUR_GENERATOR, COMMON_SEARCH, common, historical_averaging, label_smoothing
from variants.parts.two_player import HISTORICAL_AVERAGING, LABEL_SMOOTHING

CONVOLUTIONS = ("svhn", "cifar", "wn-conv")  # classifiers beside which generator and discriminator are convolutional


class TripleRecipe(ConfidentRecipe):
    generator: tuple[Width, ...] = setting(
        (500, 500), "hidden widths of the generator; channels of its three sizes", min_length=1
    )
    discriminator: tuple[Width, ...] = setting(
        (1000, 500, 250, 250, 250), "hidden widths of D; channels at its three sizes", min_length=1
    )
    positive_labelled: int | None = setting(None, "labelled pairs for D; unset: max(n // 100, 1)", ge=1, batch=True)
    positive_unlabelled: int = setting(400, "unlabelled images that D sees as positive", ge=1, batch=True)
    generated: int = setting(200, "generated images", ge=2, batch=True)
    adversarial_weight: float = setting(1.0, "w_adv, on C's adversarial term", ge=0, le=100)
    pseudo_weight: float = setting(0.1, "alpha_P, on C's cross-entropy for generated pairs", ge=0, le=100)
    pseudo_from: float = setting(0.3, "share of the main phase after which generated pairs train C", ge=0, lt=1)
    classifier_lr: float | None = setting(None, "step size of C; unset: lr", gt=0, le=1, neutral=None)
    classifier_decay_to: float | None = setting(
        None, "factor on C's step size at the end; unset: decay_to", gt=0, le=1, neutral=None
    )
    smoothing: float = label_smoothing()
    historical_weight: float = historical_averaging()


COLOUR: dict[str, Any] = {
    "epochs": 1000,
    "lr": 3e-4,
    "evaluations": 60,
    "evaluate_with": "ema",
    "generator": (512, 256, 128),
    "discriminator": (32, 64, 128),
    "adversarial_weight": 0.01,
    "weight_decay": 0.0,
    "pseudo_from": 0.2,
    "pretrain_epochs": 0,
}
PAPER_SVHN: dict[str, Any] = {
    **COLOUR,
    "network": "svhn",
    "labelled_batch": 200,
    "unlabelled_batch": 200,
    "positive_labelled": 20,
    "positive_unlabelled": 180,
    "pseudo_weight": 0.03,
}
PAPER_CIFAR10: dict[str, Any] = {
    **COLOUR,
    "network": "cifar",
    "initial_batch": 100,
    "labelled_batch": 100,
    "unlabelled_batch": 100,
    "positive_labelled": 40,
    "positive_unlabelled": 160,
    "classifier_lr": 3e-3,
    "classifier_decay_to": 0.99**700,
    "beta1_start": 0.9,
    "entropy_weight": 0.0,
    "balance_weight": 0.0,
    "consistency_weight": 100.0,
}
COMMON_COLOUR: dict[str, Any] = {**COLOUR_GENERATOR, "network": "wn-conv", "discriminator": (12, 24, 48)}
COMMON_TRIPLE: dict[str, Any] = {
    "network": "mlp",
    "generator": (128, 128),
    "discriminator": (256, 128, 64),
    "labelled_batch": 50,
    "unlabelled_batch": 50,
    "positive_labelled": 25,
    "positive_unlabelled": 25,
    "generated": 50,
    "pretrain_epochs": 0,
    "weight_decay": 0.0,
}
# Found by `bench tune` on validation images of digits, MNIST and two-circles, 20 trials each
# (results/reference/tuning); other grey and colour images take MNIST's,
# other vectors those of two-circles.
TUNED: dict[str, dict[str, Any]] = {
    "digits": {
        "adversarial_weight": 1.0,
        "balance_weight": 0.611,
        "beta1": 0.5,
        "ema_decay": 0.98,
        "entropy_weight": 1.0,
        "hidden_noise": 0.3,
        "input_noise": 0.1,
        "lr": 0.00228,
        "pseudo_from": 0.5,
        "pseudo_weight": 0.1,
    },
    "grey": {
        "adversarial_weight": 0.01,
        "balance_weight": 0.0264,
        "beta1": 0.9,
        "ema_decay": 0.99,
        "entropy_weight": 0.03,
        "hidden_noise": 0.3,
        "input_noise": 0.0,
        "lr": 0.00227,
        "pseudo_from": 0.5,
        "pseudo_weight": 0.03,
    },
    "vector": {
        "adversarial_weight": 1.0,
        "balance_weight": 0.611,
        "beta1": 0.5,
        "ema_decay": 0.98,
        "entropy_weight": 1.0,
        "hidden_noise": 0.3,
        "input_noise": 0.1,
        "lr": 0.00228,
        "pseudo_from": 0.5,
        "pseudo_weight": 0.1,
    },
}


class Triple(Confident):
    name = "triple"
    version = 2
    conditional = True
    recipe_type = TripleRecipe
    recipe: TripleRecipe
    recipes = {
        "paper": {
            "grey": TripleRecipe(epochs=1000, lr=1e-3, evaluations=60, evaluate_with="ema"),
            "svhn": TripleRecipe(**PAPER_SVHN),
            "colour": TripleRecipe(**PAPER_CIFAR10),
        },
        "common": common(TripleRecipe, COMMON_TRIPLE, TUNED, COMMON_COLOUR),
    }
    search = {
        **COMMON_SEARCH,
        "entropy_weight": Choice((0.03, 0.1, 0.3, 1.0)),
        "balance_weight": LogUniform(1e-3, 1.0),
        "adversarial_weight": Choice((0.01, 0.1, 0.5, 1.0)),
        "pseudo_weight": Choice((0.03, 0.1, 0.3)),
        "pseudo_from": Choice((0.1, 0.3, 0.5)),
    }
    techniques = {
        "adversarial-term": Technique(on={"adversarial_weight": 1.0}, off={"adversarial_weight": 0.0}),
        "pseudo-labels": Technique(on={"pseudo_weight": 0.1}, off={"pseudo_weight": 0.0}),
        "confidence": Technique(on={"entropy_weight": 0.3}, off={"entropy_weight": 0.0}),
        "balance": Technique(on={"balance_weight": 1e-3}, off={"balance_weight": 0.0}),
        "label-smoothing": LABEL_SMOOTHING,
        "historical-averaging": HISTORICAL_AVERAGING,
    }

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        r, task = self.recipe, self.task
        if r.network in CONVOLUTIONS:
            return {
                **super().networks(),
                "generator": lambda: ConvGenerator(task, r.generator),
                "discriminator": lambda: ConvPairDiscriminator(task, r.discriminator),
            }
        return {
            **super().networks(),
            "generator": lambda: ConditionalGenerator(task, r.generator),
            "discriminator": lambda: PairDiscriminator(
                task, r.discriminator, input_noise=r.input_noise, hidden_noise=r.hidden_noise
            ),
        }

    def draws(self) -> Mapping[str, Draw]:
        r, n = self.recipe, self.task.labelled
        return {
            **super().draws(),
            "positive_labelled": Draw(r.positive_labelled or max(n // 100, 1), "labelled", "tiled"),
            "positive_unlabelled": Draw(r.positive_unlabelled, self.pool),
        }

    def player(self, name: str, loss: Callable[..., Any], schedule: Schedule, **own: Any) -> Player:
        return super().player(name, loss, schedule, historical_weight=self.recipe.historical_weight, **own)

    def classifier_player(self, pseudo: bool) -> Player:
        r = self.recipe
        own = self.schedule(r.classifier_decay_to or r.decay_to)
        loss, ema, beta1 = partial(self.classifier_loss, pseudo=pseudo), Ema(r.ema_decay), self.beta1()
        return self.player("classifier", loss, own, lr=r.classifier_lr or r.lr, ema=ema, beta1=beta1)

    def main_phases(self, steps: float, schedule: Schedule) -> tuple[Phase, ...]:
        r = self.recipe
        rivals = (
            self.player("discriminator", self.discriminator_loss, schedule),
            self.player("generator", self.generator_loss, schedule),
        )
        classifiers = [self.classifier_player(pseudo=on) for on in (False, True)]
        return (
            Phase("main", steps * r.pseudo_from, (*rivals, classifiers[0])),
            Phase("pseudo-labels", steps * (1 - r.pseudo_from), (*rivals, classifiers[1]), frozenset({"classifier"})),
        )

    def generate(self, nets: Nets, noise: Noise, labels: Tensor) -> Tensor:
        return nets.generator(noise.uniform(len(labels), LATENT), self.one_hot(labels), noise)

    # --- losses ---

    def one_hot(self, labels: Tensor) -> Tensor:
        """`[batch, K]`; weights stay as they are. (The library's looks at the labels, and so waits for the device.)"""
        if labels.is_floating_point():
            return labels
        return (labels[:, None] == torch.arange(self.task.classes, device=labels.device)).to(torch.float32)

    def fakes(self, nets: Nets, noise: Noise, like: Tensor) -> tuple[Tensor, Tensor]:
        """Generated images and their labels, every class as often as the others."""
        labels = torch.arange(self.recipe.generated, device=like.device) % self.task.classes
        return self.generate(nets, noise, labels), labels

    def guess(self, nets: Nets, images: Tensor, noise: Noise) -> Tensor:
        """k(x) as one-hot `[batch, K]`, from C in training mode."""
        return self.one_hot(nets.classifier(images, noise).argmax(-1))

    def discriminator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        labelled, labels = batch["positive_labelled"]
        positive, unlabelled = batch["positive_unlabelled"], batch["unlabelled"]
        fake, fake_labels = self.fakes(nets, noise, unlabelled)
        images = torch.cat([labelled, positive, fake, unlabelled])
        pairs = torch.cat(
            [
                self.one_hot(labels),
                self.guess(nets, positive, noise),
                self.one_hot(fake_labels),
                self.guess(nets, unlabelled, noise),
            ]
        )
        sizes = [len(labelled) + len(positive), len(fake), len(unlabelled)]
        d_pos, d_gen, d_unl = nets.discriminator(images, pairs, noise).split(sizes)
        real, generated, classified = real_loss(d_pos, self.recipe.smoothing), fake_loss(d_gen), fake_loss(d_unl)
        logs = {"real": real, "generated": generated, "classified": classified}
        return real + 0.5 * generated + 0.5 * classified, logs

    def generator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        fake, labels = self.fakes(nets, noise, batch["unlabelled"])
        return 0.5 * real_loss(nets.discriminator(fake, self.one_hot(labels), noise)), {}

    def classifier_loss(
        self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor, *, pseudo: bool
    ) -> Loss:
        r, unlabelled = self.recipe, batch["unlabelled"]
        loss, logs, logits = self.semi_supervised(nets, batch, unlabelled, noise, r.balance_weight, progress)
        guess = self.one_hot(logits.argmax(-1))
        rejection = softplus(-nets.discriminator(unlabelled, guess, noise))
        confidence = F.softmax(logits, -1).amax(-1)
        adversarial = (confidence * rejection).mean()
        loss = loss + 0.5 * r.adversarial_weight * adversarial
        if pseudo:
            fake, labels = self.fakes(nets, noise, unlabelled)
            logs["pseudo"] = F.cross_entropy(nets.classifier(fake, noise), labels)
            loss = loss + r.pseudo_weight * logs["pseudo"]
        return loss, {**logs, "adversarial": adversarial}
