"""A classifier that uses its own confidence on unlabelled images: Triple-GAN's third player, without the other two.

    L = mean_lab CE(c(x), y) + w_ent mean_unl H(p(x)) + w_bal CE(uniform, mean_unl p) + wd |W_last|^2,  p = softmax(c)
        + w_con(t) mean_unl mean_k (p_k(x; xi1) - p_k(x; xi2))^2        (CIFAR-10: two draws of the noise must agree)

(Li et al., arXiv:1703.02291, section 3.2 and the authors' code, zhenxuan00/triple-gan.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import (
    Adam,
    Draw,
    Ema,
    Nets,
    Noise,
    Phase,
    Player,
    Pool,
    Recipe,
    State,
    Technique,
    Variant,
    Width,
    setting,
)
from variants.parts.losses import accuracy, balance, entropy
from variants.parts.networks.conv import conv_classifier as salimans_classifier
from variants.parts.networks.mlp import Classifier, noisy_classifier
from variants.parts.networks.thirteen import cifar_classifier, svhn_classifier, zca
from variants.parts.networks.triple import conv_classifier
from variants.parts.recipes import exponential_decay, historical_averaging
from variants.parts.two_player import HISTORICAL_AVERAGING

Loss = tuple[Tensor, dict[str, Tensor]]
Schedule = Callable[[float], float]


PERCEPTRON: dict[str, Any] = {"unused_if": {"network": ("conv", "svhn", "cifar")}}
NOISE: dict[str, Any] = {"unused_if": {"network": ("svhn", "cifar")}}
CONSISTENCY: dict[str, Any] = {"unused_if": {"consistency_weight": 0.0}}
PRETRAINING: dict[str, Any] = {"unused_if": {"pretrain_epochs": 0}}


class ConfidentRecipe(Recipe):
    network: Literal["conv", "mlp", "svhn", "cifar", "wn-conv"] = setting(
        "conv", "the classifier: the paper's for MNIST, SVHN or CIFAR-10, or FM-GAN's perceptron or convolutions"
    )
    classifier: tuple[Width, ...] = setting(
        (1000, 500, 250, 250, 250), "hidden widths of FM-GAN's classifiers", min_length=1, **PERCEPTRON
    )
    input_noise: float = setting(
        0.3, "noise on the pixels, of FM-GAN's classifiers and MNIST's discriminator", ge=0, le=10, **NOISE
    )
    hidden_noise: float = setting(
        0.5, "noise on hidden layers of perceptrons and of MNIST's discriminator", ge=0, le=10, **NOISE
    )
    initial_batch: int = setting(
        500, "images for the data-dependent initialisation", ge=2, batch=True,
        unused_if={"network": ("conv", "svhn")},
    )  # fmt: skip
    labelled_batch: int | None = setting(None, "labelled images for C; unset: min(100, n)", ge=1, batch=True)
    unlabelled_batch: int | None = setting(None, "unlabelled images; unset: max(100, 10000 // n)", ge=1, batch=True)
    beta1: float = setting(0.5, "Adam's decay of the first moment", ge=0, lt=1)
    entropy_weight: float = setting(0.3, "w_ent, on C's entropy", ge=0, le=100)
    balance_weight: float = setting(1e-3, "w_bal, on the balance of C's predictions", ge=0, le=100)
    weight_decay: float = setting(1e-4, "wd, on C's last layer", ge=0, le=1)
    decay_from: float = setting(0.3, "share of the main phase after which lr falls", ge=0, lt=1)
    decay_to: float = setting(0.995**700, "factor on lr at the end, reached exponentially", gt=0, le=1)
    pretrain_epochs: int | None = setting(None, "epochs of C alone before; unset: 30 up to 100 labels, else 0", ge=0)
    pretrain_batch: int = setting(500, "unlabelled images per step of pre-training", ge=1, batch=True, **PRETRAINING)
    pretrain_lr: float = setting(3e-4, "step size of pre-training", gt=0, le=1, **PRETRAINING)
    pretrain_balance_weight: float = setting(0.3, "w_bal in pre-training", ge=0, le=100, **PRETRAINING)
    historical_weight: float = historical_averaging()
    beta1_start: float | None = setting(
        None, "beta1 of C in the first quarter of training, from which it falls to beta1", ge=0, lt=1, neutral=None
    )
    consistency_weight: float = setting(
        0.0, "w_con, on the difference of C's answers under two draws of its noise", ge=0, le=1000, neutral=0.0
    )
    consistency_of: Literal["probabilities", "logits"] = setting(
        "probabilities", "which answers are compared", neutral="probabilities", **CONSISTENCY
    )
    consistency_ramp: float = setting(
        0.08, "share of training over which w_con rises", gt=0, le=1, neutral=0.08, **CONSISTENCY
    )
    ema_decay: float = setting(0.99, "decay of C's averaged weights", gt=0, lt=1)
    labelled_in_pool: bool = setting(True, "the unlabelled pool contains the labelled images")


class Confident(Variant):
    """The classifier, its batches, its pre-training, and the terms of its loss that need no GAN."""

    recipe: Any  # a ConfidentRecipe; subclasses name their own
    techniques = {
        "confidence": Technique(on={"entropy_weight": 0.3}, off={"entropy_weight": 0.0}),
        "balance": Technique(on={"balance_weight": 1e-3}, off={"balance_weight": 0.0}),
        "historical-averaging": HISTORICAL_AVERAGING,
    }

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        return {"classifier": self._classifier}

    def _classifier(self) -> Classifier:
        r, task = self.recipe, self.task
        if r.network == "conv":
            return conv_classifier(task)
        if r.network == "svhn":
            return svhn_classifier(task)
        if r.network == "cifar":
            return cifar_classifier(task, lambda: (self.constant["whitening"], self.constant["mean"]))
        noise = {"input_noise": r.input_noise}
        if r.network == "mlp":
            return noisy_classifier(task, r.classifier, task.classes, hidden_noise=r.hidden_noise, **noise)
        dropouts: Any = {"input_dropout": 0.2, "hidden_dropout": 0.5, "channel_dropout": "none"}
        return salimans_classifier(task, r.classifier, task.classes, **noise, **dropouts)

    def constants(self, images: Iterable[Tensor]) -> Mapping[str, Tensor]:
        if self.recipe.network != "cifar":
            return {}
        whitening, mean = zca(images)
        return {"whitening": whitening, "mean": mean}

    @property
    def pool(self) -> Pool:
        return "all" if self.recipe.labelled_in_pool else "unlabelled"

    def draws(self) -> Mapping[str, Draw]:
        r, n = self.recipe, self.task.labelled
        draws = {
            "labelled": Draw(r.labelled_batch or min(100, n), "labelled", "tiled"),
            "unlabelled": Draw(r.unlabelled_batch or max(100, 10_000 // n), self.pool),
        }
        if self._pretraining_steps():
            draws["pretraining"] = Draw(r.pretrain_batch, self.pool)
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
        """Pre-training of the classifier alone, then the method's own phases."""
        r, before = self.recipe, self._steps_before()
        pretraining = Player(
            "pretraining", ("classifier",), self.pretraining_loss, r.pretrain_lr, Adam((0.9, 0.999)),
            ema=Ema(r.ema_decay),
        )  # fmt: skip
        return (
            Phase("pretraining", before, (pretraining,)),
            *self.main_phases(self.steps() - before, self.schedule(r.decay_to)),
        )

    def _steps_before(self) -> int:
        """Steps of pre-training, of which a short schedule leaves one less than it has."""
        return min(self._pretraining_steps(), self.steps() - 1)

    def schedule(self, final: float) -> Schedule:
        """The factor on a learning rate: 1 up to a share of the main phase, then exponentially to `final`."""
        head = self._steps_before() / self.steps()
        return exponential_decay(head + (1 - head) * self.recipe.decay_from, final)

    def main_phases(self, steps: float, schedule: Schedule) -> tuple[Phase, ...]:
        """The phases after pre-training, `steps` together; `schedule` is that of the learning rates."""
        raise NotImplementedError

    def player(self, name: str, loss: Callable[..., Any], schedule: Schedule, **own: Any) -> Player:
        """A player that trains the network of its name with the recipe's optimiser, but for its `own`."""
        r = self.recipe
        common = {"lr": r.lr, "optimiser": Adam((r.beta1, 0.999)), "schedule": schedule}
        common |= {"historical_weight": r.historical_weight}
        return Player(name, (name,), loss, **{**common, **own})

    def beta1(self) -> Callable[[float], float] | None:
        """C's beta1: in a schedule of 1000 epochs it leaves its start after epoch 250 and has fallen some 15 later."""
        r = self.recipe
        if r.beta1_start is None:
            return None
        return lambda t: r.beta1 + (r.beta1_start - r.beta1) * math.exp(-((500 * max(0.0, t - 0.25)) ** 2) / 50)

    def initial_draws(self) -> Mapping[str, Draw]:
        calibrated = self.recipe.network not in ("conv", "svhn")
        return {"images": Draw(self.recipe.initial_batch, "all")} if calibrated else {}

    def initialise(self, nets: Nets, batch: Mapping[str, Any], noise: Noise) -> None:
        nets.classifier.calibrate(batch["images"], noise)

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.classifier(images)

    def pretraining_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        weight = self.recipe.pretrain_balance_weight
        loss, logs, _ = self.semi_supervised(nets, batch, batch["pretraining"], noise, weight, progress)
        return loss, logs

    def semi_supervised(
        self, nets: Nets, batch: Any, unlabelled: Tensor, noise: Noise, balance_weight: float, progress: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The loss in the module's docstring; also returns c(x) of the unlabelled images."""
        r, (images, labels) = self.recipe, batch["labelled"]
        l_lab = nets.classifier(images, noise)
        l_unl = nets.classifier(unlabelled, noise, update=not r.consistency_weight)
        supervised, h, b = F.cross_entropy(l_lab, labels), entropy(l_unl), balance(l_unl)
        loss = supervised + r.entropy_weight * h + balance_weight * b
        loss = loss + r.weight_decay * last_layer_norm(nets.classifier.tensors)
        logs = {"supervised": supervised, "entropy": h, "balance": b, "accuracy": accuracy(l_lab, labels)}
        if r.consistency_weight:
            logs["consistency"] = self.consistency(l_unl, nets.classifier(unlabelled, noise, update=True))
            loss = loss + self.consistency_now(progress) * logs["consistency"]
        return loss, logs, l_unl

    def consistency(self, first: Tensor, second: Tensor) -> Tensor:
        """Mean squared difference of two answers `[batch, K]`."""
        if self.recipe.consistency_of == "probabilities":
            first, second = first.softmax(-1), second.softmax(-1)
        return (first - second).square().mean()

    def consistency_now(self, progress: Tensor) -> Tensor:
        """w_con(t) = w_con exp(-5 (1 - t / ramp)^2), w_con itself after the ramp."""
        rest = (1 - progress / self.recipe.consistency_ramp).clamp(min=0)
        return self.recipe.consistency_weight * (-5 * rest.square()).exp()


def last_layer_norm(tensors: Mapping[str, Tensor]) -> Tensor:
    """|W|^2 of the classifier's last layer; under weight norm the rows have length g."""
    names = ("head.layers.0.weight", "head.layers.1.scale", "head.layers.0.scale")
    return next(tensors[name] for name in names if name in tensors).square().sum()
