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
4. Labelled images are tiled without end; images below 28 x 28 are enlarged for the convolutional classifier.
5. The entropy's logarithms and the cross-entropies come from log-softmax and are not clipped.
6. Running statistics and averages hold batch norm's variance, where the code's library holds its inverse square root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import (
    Adam,
    Choice,
    Draw,
    Ema,
    LogUniform,
    Nets,
    Noise,
    Phase,
    Player,
    Pool,
    Recipe,
    State,
    Variant,
    Width,
    setting,
)
from variants.parts.losses import accuracy, balance, entropy, fake_loss, real_loss, softplus
from variants.parts.networks.mlp import LATENT, noisy_classifier
from variants.parts.networks.triple import ConditionalGenerator, PairDiscriminator, conv_classifier
from variants.parts.recipes import COMMON_SEARCH, common, exponential_decay

Loss = tuple[Tensor, dict[str, Tensor]]


class TripleRecipe(Recipe):
    network: Literal["conv", "mlp"] = setting("conv", "the classifier: the paper's convolutions, or a perceptron")
    classifier: tuple[Width, ...] = setting((1000, 500, 250, 250, 250), "hidden widths of the perceptron", min_length=1)
    input_noise: float = setting(0.3, "noise on the pixels, of the discriminator and the perceptron", ge=0, le=10)
    hidden_noise: float = setting(0.5, "noise on hidden layers, of the discriminator and the perceptron", ge=0, le=10)
    initial_batch: int = setting(500, "images for the perceptron's data-dependent initialisation", ge=2, batch=True)
    generator: tuple[Width, ...] = setting((500, 500), "hidden widths of the generator", min_length=1)
    discriminator: tuple[Width, ...] = setting((1000, 500, 250, 250, 250), "hidden widths of D", min_length=1)
    labelled_batch: int | None = setting(None, "labelled images for C; unset: min(100, n)", ge=1, batch=True)
    unlabelled_batch: int | None = setting(None, "unlabelled images; unset: max(100, 10000 // n)", ge=1, batch=True)
    positive_labelled: int | None = setting(None, "labelled pairs for D; unset: max(n // 100, 1)", ge=1, batch=True)
    positive_unlabelled: int = setting(400, "unlabelled images that D sees as positive", ge=1, batch=True)
    generated: int = setting(200, "generated images", ge=2, batch=True)
    beta1: float = setting(0.5, "Adam's decay of the first moment", ge=0, lt=1)
    adversarial_weight: float = setting(1.0, "w_adv, on C's adversarial term", ge=0, le=100)
    entropy_weight: float = setting(0.3, "w_ent, on C's entropy", ge=0, le=100)
    balance_weight: float = setting(1e-3, "w_bal, on the balance of C's predictions", ge=0, le=100)
    weight_decay: float = setting(1e-4, "wd, on C's last layer", ge=0, le=1)
    pseudo_weight: float = setting(0.1, "alpha_P, on C's cross-entropy for generated pairs", ge=0, le=100)
    pseudo_from: float = setting(0.3, "share of the main phase after which generated pairs train C", ge=0, lt=1)
    decay_from: float = setting(0.3, "share of the main phase after which lr falls", ge=0, lt=1)
    decay_to: float = setting(0.995**700, "factor on lr at the end, reached exponentially", gt=0, le=1)
    pretrain_epochs: int | None = setting(None, "epochs of C alone before; unset: 30 up to 100 labels, else 0", ge=0)
    pretrain_batch: int = setting(500, "unlabelled images per step of pre-training", ge=1, batch=True)
    pretrain_lr: float = setting(3e-4, "step size of pre-training", gt=0, le=1)
    pretrain_balance_weight: float = setting(0.3, "w_bal in pre-training", ge=0, le=100)
    ema_decay: float = setting(0.99, "decay of C's averaged weights", gt=0, lt=1)
    labelled_in_pool: bool = setting(True, "the unlabelled pool contains the labelled images")


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


class Triple(Variant):
    name = "triple"
    version = 2
    recipe_type = TripleRecipe
    recipe: TripleRecipe
    recipes = {
        "paper": {"grey": TripleRecipe(epochs=1000, lr=1e-3, evaluations=60, evaluate_with="ema")},
        "common": common(TripleRecipe, COMMON_TRIPLE, TUNED),
    }
    search = {
        **COMMON_SEARCH,
        "entropy_weight": Choice((0.03, 0.1, 0.3, 1.0)),
        "balance_weight": LogUniform(1e-3, 1.0),
        "adversarial_weight": Choice((0.01, 0.1, 0.5, 1.0)),
        "pseudo_weight": Choice((0.03, 0.1, 0.3)),
        "pseudo_from": Choice((0.1, 0.3, 0.5)),
    }

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        r, task = self.recipe, self.task
        noise = {"input_noise": r.input_noise, "hidden_noise": r.hidden_noise}
        return {
            "classifier": lambda: (
                conv_classifier(task)
                if r.network == "conv"
                else noisy_classifier(task, r.classifier, task.classes, **noise)
            ),
            "generator": lambda: ConditionalGenerator(task, r.generator),
            "discriminator": lambda: PairDiscriminator(task, r.discriminator, **noise),
        }

    def draws(self) -> Mapping[str, Draw]:
        r, n = self.recipe, self.task.labelled
        pool: Pool = "all" if r.labelled_in_pool else "unlabelled"
        draws = {
            "labelled": Draw(r.labelled_batch or min(100, n), "labelled", "tiled"),
            "unlabelled": Draw(r.unlabelled_batch or max(100, 10_000 // n), pool),
            "positive_labelled": Draw(r.positive_labelled or max(n // 100, 1), "labelled", "tiled"),
            "positive_unlabelled": Draw(r.positive_unlabelled, pool),
        }
        if self._pretraining_steps():
            draws["pretraining"] = Draw(r.pretrain_batch, pool)
        return draws

    def _pretraining_steps(self) -> int:
        epochs = self.recipe.pretrain_epochs
        if epochs is None:
            epochs = 30 if self.task.labelled <= 100 else 0
        pool = self.task.unlabelled + self.task.labelled * self.recipe.labelled_in_pool
        return epochs * max(1, pool // self.recipe.pretrain_batch)

    def steps(self) -> int:
        extra = 0 if self.recipe.steps else self._pretraining_steps()
        return super().steps() + extra

    def phases(self) -> tuple[Phase, ...]:
        r = self.recipe
        total, before = self.steps(), min(self._pretraining_steps(), self.steps() - 1)
        main, head = total - before, before / total
        schedule = exponential_decay(head + (1 - head) * r.decay_from, r.decay_to)
        common: dict[str, Any] = {"lr": r.lr, "optimiser": Adam((r.beta1, 0.999)), "schedule": schedule}
        average = Ema(r.ema_decay)
        pretraining = Player(
            "pretraining", ("classifier",), self.pretraining_loss, r.pretrain_lr, Adam((0.9, 0.999)), ema=average
        )
        rivals = (
            Player("discriminator", ("discriminator",), self.discriminator_loss, **common),
            Player("generator", ("generator",), self.generator_loss, **common),
        )
        classifiers = [
            Player("classifier", ("classifier",), partial(self.classifier_loss, pseudo=on), ema=average, **common)
            for on in (False, True)
        ]
        return (
            Phase("pretraining", before, (pretraining,)),
            Phase("main", main * r.pseudo_from, (*rivals, classifiers[0])),
            Phase("pseudo-labels", main * (1 - r.pseudo_from), (*rivals, classifiers[1]), frozenset({"classifier"})),
        )

    def initial_draws(self) -> Mapping[str, Draw]:
        return {} if self.recipe.network == "conv" else {"images": Draw(self.recipe.initial_batch, "all")}

    def initialise(self, nets: Nets, batch: Mapping[str, Any], noise: Noise) -> None:
        nets.classifier.calibrate(batch["images"], noise)

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.classifier(images)

    def generate(self, nets: Nets, noise: Noise, labels: Tensor) -> Tensor:
        return nets.generator(noise.uniform(len(labels), LATENT), self.one_hot(labels), noise)

    # --- losses ---

    def one_hot(self, labels: Tensor) -> Tensor:
        """`[batch, K]`; the library's own function looks at the labels, and so waits for the device."""
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
        real, generated, classified = real_loss(d_pos), fake_loss(d_gen), fake_loss(d_unl)
        logs = {"real": real, "generated": generated, "classified": classified}
        return real + 0.5 * generated + 0.5 * classified, logs

    def generator_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        fake, labels = self.fakes(nets, noise, batch["unlabelled"])
        return 0.5 * real_loss(nets.discriminator(fake, self.one_hot(labels), noise)), {}

    def classifier_loss(
        self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor, *, pseudo: bool
    ) -> Loss:
        r, unlabelled = self.recipe, batch["unlabelled"]
        loss, logs, logits = self.semi_supervised(nets, batch, unlabelled, noise, r.balance_weight)
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

    def pretraining_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        weight = self.recipe.pretrain_balance_weight
        loss, logs, _ = self.semi_supervised(nets, batch, batch["pretraining"], noise, weight)
        return loss, logs

    def semi_supervised(
        self, nets: Nets, batch: Any, unlabelled: Tensor, noise: Noise, balance_weight: float
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The terms of L_C without generator and discriminator; also returns c(x) of the unlabelled images."""
        r, (images, labels) = self.recipe, batch["labelled"]
        l_lab, l_unl = nets.classifier(images, noise), nets.classifier(unlabelled, noise, update=True)
        supervised, h, b = F.cross_entropy(l_lab, labels), entropy(l_unl), balance(l_unl)
        loss = supervised + r.entropy_weight * h + balance_weight * b
        loss = loss + r.weight_decay * last_layer_norm(nets.classifier.tensors)
        logs = {"supervised": supervised, "entropy": h, "balance": b, "accuracy": accuracy(l_lab, labels)}
        return loss, logs, l_unl


def last_layer_norm(tensors: Mapping[str, Tensor]) -> Tensor:
    """|W|^2 of the classifier's last layer; under weight norm the rows have length g."""
    weight = tensors["head.layers.0.weight"] if "head.layers.0.weight" in tensors else tensors["head.layers.1.scale"]
    return weight.square().sum()
