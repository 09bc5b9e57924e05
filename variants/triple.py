"""Triple-GAN: classifier, conditional generator and pair discriminator (Li et al., arXiv:1703.02291).

With D(x, y) = sigmoid(d(x, y)), p = softmax(c(x)) and k(x) = argmax_k p_k(x):

    L_D = mean_{pos} -log D(x, y) + 1/2 mean_gen -log(1 - D(G(z, y), y)) + 1/2 mean_unl -log(1 - D(x, k(x)))
          (positives: labelled pairs and unlabelled images with k(x), under one mean)
    L_G = 1/2 mean_gen -log D(G(z, y), y)
    L_C = w_adv/2 mean_unl[max_k p_k(x) (-log D(x, k(x)))] + mean_lab CE + w_ent mean_unl H(p(x))
          + w_bal CE(uniform, mean_unl p) + wd |W_last|^2 + alpha_P mean_gen CE(c(G(z, y)), y)

With `unlabelled_labels: all` (the code's `objective_flag=integrate`) an unlabelled image meets D with every label y;
both terms on it are sums over y, weighted with p_y(x): in L_D, where p is constant,
1/2 mean_unl sum_y p_y(x) (-log(1 - D(x, y))), and in L_C w_adv/2 mean_unl sum_y p_y(x) (-log D(x, y)).

`paper` follows the authors' code (zhenxuan00/triple-gan), which weighs -log D with the confidence where the article's
Algorithm 1 has log(1 - D) (`saturating`: C becomes the surer the more D believes it; the code's term makes it the less
sure the less D does). That confidence is the only path of the adversarial term to C. Deviations from the code:

1. The averaged classifier starts at the live weights instead of 0: its start is forgotten after some hundred steps.
2. The learning rate falls after every step instead of after every epoch, by the same factor over the schedule.
3. Running batch-norm statistics of C move in its own step only, with the unlabelled images.
4. On CIFAR-10 the images are whitened with 1e-3 added to the eigenvalues of their covariance; C's optimiser is plain
   Adam, which there resets what has become NaN; the consistency term is on from the start of its ramp.
5. Labelled images are tiled without end; images below 28 x 28 are enlarged for the convolutional classifier.
6. The entropy's logarithms and the cross-entropies come from log-softmax and are not clipped.
7. Running statistics and averages hold batch norm's variance, where the code's library holds its inverse square root.

Where it does not beat `supervised`: on digits at 100 labels the interval of the difference holds 0; on MNIST after
3,000 steps and on two-circles with 4 labels it lies below. On digits it adds nothing to `entmin` that ten seeds could
see (reports/). All terms and gradients agree with an independent calculation (tests/variants/test_triple.py). The
paper's own setting, convolutions and 600,000 steps, has not been run yet; pseudo-labels from a generator of a few
hundred steps are a likely cause.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Choice, Draw, Ema, LogUniform, Nets, Noise, Phase, Player, State, Technique, Width, setting
from variants.parts.confident import Confident, ConfidentRecipe, Loss, Schedule
from variants.parts.layers import Layer
from variants.parts.losses import fake_loss, real_loss, softplus
from variants.parts.networks.mlp import BATCH_NORM, LATENT, Latent, Minibatch, Norm, sample
from variants.parts.networks.thirteen import ConvGenerator, ConvPairDiscriminator
from variants.parts.networks.triple import NORM, ConditionalGenerator, PairDiscriminator, ReferencedPairs
from variants.parts.recipes import (
    COLOUR_GENERATOR,
    COMMON_SEARCH,
    common,
    label_smoothing,
    minibatch_dimensions,
    minibatch_kernels,
    virtual_batch_norm,
)
from variants.parts.two_player import (
    LABEL_SMOOTHING,
    MINIBATCH_DISCRIMINATION,
    VIRTUAL_BATCH_NORM,
)

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
    unlabelled_labels: Literal["argmax", "all"] = setting(
        "argmax", "which labels D and C give to an unlabelled image: C's own, or all, weighted by p", neutral="argmax"
    )
    saturating: bool = setting(
        False, "C's adversarial term is that of the article's algorithm, p log(1 - D), not -p log D", neutral=False
    )
    smoothing: float = label_smoothing()
    virtual_batch_norm: bool = virtual_batch_norm()
    minibatch_kernels: int = minibatch_kernels()
    minibatch_dimensions: int = minibatch_dimensions()


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
        **Confident.techniques,
        "adversarial-term": Technique(on={"adversarial_weight": 1.0}, off={"adversarial_weight": 0.0}),
        "pseudo-labels": Technique(on={"pseudo_weight": 0.1}, off={"pseudo_weight": 0.0}),
        "label-smoothing": LABEL_SMOOTHING,
        "virtual-batch-norm": VIRTUAL_BATCH_NORM,
        "minibatch-discrimination": MINIBATCH_DISCRIMINATION,
    }

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        r, task = self.recipe, self.task
        if r.network in CONVOLUTIONS:
            norm = self.norm(BATCH_NORM)
            return {
                **super().networks(),
                "generator": lambda: self.referenced(ConvGenerator(task, r.generator, norm), norm),
                "discriminator": lambda: ConvPairDiscriminator(task, r.discriminator, self.minibatch),
            }
        norm = self.norm(NORM)
        return {
            **super().networks(),
            "generator": lambda: self.referenced(ConditionalGenerator(task, r.generator, norm), norm),
            "discriminator": lambda: PairDiscriminator(
                task, r.discriminator, r.input_noise, r.hidden_noise, self.minibatch
            ),
        }

    @property
    def minibatch(self) -> Minibatch:
        r = self.recipe
        return Minibatch(r.minibatch_kernels, r.minibatch_dimensions, r.generated)

    @property
    def latent(self) -> Latent:
        """How G's z is drawn."""
        return "uniform"

    def norm(self, norm: Norm) -> Norm:
        """The generator's batch norm, with a reference batch where the recipe asks for it."""
        return replace(norm, latent=self.latent, reference=self.recipe.generated * self.recipe.virtual_batch_norm)

    def referenced(self, generator: Layer, norm: Norm) -> Layer:
        """The generator, with its reference batch where its norm has one."""
        if not norm.reference:
            return generator
        return ReferencedPairs(generator, norm.reference_batch(LATENT), self.task.classes)

    def draws(self) -> Mapping[str, Draw]:
        r, n = self.recipe, self.task.labelled
        return {
            **super().draws(),
            "positive_labelled": Draw(r.positive_labelled or max(n // 100, 1), "labelled", "tiled"),
            "positive_unlabelled": Draw(r.positive_unlabelled, self.pool),
        }

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
        return nets.generator(sample(noise, len(labels), LATENT, self.latent), self.one_hot(labels), noise)

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

    def with_all_labels(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Each image with every label in turn: `[batch K, *image_shape]` and one-hot `[batch K, K]`."""
        k = self.task.classes
        return images.repeat_interleave(k, 0), torch.eye(k, device=images.device).repeat(len(images), 1)

    def judged(self, nets: Nets, noise: Noise, pairs: Sequence[tuple[Tensor, Tensor]]) -> Sequence[Tensor]:
        """d(x, y) for groups of pairs, in one pass unless answers depend on the rest of a batch."""
        if self.recipe.minibatch_kernels:
            return [nets.discriminator(x, y, noise) for x, y in pairs]
        images, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return nets.discriminator(images, labels, noise).split([len(x) for x, _ in pairs])

    def rejection(self, nets: Nets, images: Tensor, logits: Tensor, noise: Noise) -> Tensor:
        """The adversarial term of C for its `logits [batch, K]`, whose gradient reaches them through p alone."""
        r, p = self.recipe, F.softmax(logits, -1)
        if r.unlabelled_labels == "all":
            d = nets.discriminator(*self.with_all_labels(images), noise).view_as(p)
        else:
            d = nets.discriminator(images, self.one_hot(logits.argmax(-1)), noise).unsqueeze(-1)
            p = p.amax(-1, keepdim=True)
        cost = -softplus(d) if r.saturating else softplus(-d)
        return (p * cost).sum(-1).mean()

    def discriminator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        labelled, labels = batch["positive_labelled"]
        positive, unlabelled = batch["positive_unlabelled"], batch["unlabelled"]
        fake, fake_labels = self.fakes(nets, noise, unlabelled)
        real_pairs = torch.cat([self.one_hot(labels), self.guess(nets, positive, noise)])
        pairs = [(torch.cat([labelled, positive]), real_pairs), (fake, self.one_hot(fake_labels))]
        if self.recipe.unlabelled_labels == "argmax":
            pairs.append((unlabelled, self.guess(nets, unlabelled, noise)))
            d_pos, d_gen, d_unl = self.judged(nets, noise, pairs)
            classified = fake_loss(d_unl)
        else:
            p = F.softmax(nets.classifier(unlabelled, noise), -1)
            d_pos, d_gen, d_unl = self.judged(nets, noise, [*pairs, self.with_all_labels(unlabelled)])
            classified = (p * softplus(d_unl).view_as(p)).sum(-1).mean()
        real, generated = real_loss(d_pos, self.recipe.smoothing), fake_loss(d_gen)
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
        adversarial = self.rejection(nets, unlabelled, logits, noise)
        loss = loss + 0.5 * r.adversarial_weight * adversarial
        if pseudo:
            fake, labels = self.fakes(nets, noise, unlabelled)
            logs["pseudo"] = F.cross_entropy(nets.classifier(fake, noise), labels)
            loss = loss + r.pseudo_weight * logs["pseudo"]
        return loss, {**logs, "adversarial": adversarial}
