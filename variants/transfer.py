"""Generated images with their labels train a fresh classifier, which never sees a real image.

First Triple-GAN is trained (Li et al., arXiv:1703.02291; `triple`), then, its networks left alone,

    L_S = mean_gen CE(s(G(z, y)), y)

for a student s with the network of Triple-GAN's classifier. What the student gets right on real images says how much of
the classes the generator has learnt from few labels (the idea of jakubLangr/Gans-Semi-Supervised, and a measure of
generators known as classification accuracy score). That code takes its labels from directions in the latent space of a
face model trained with all of CelebA's attributes; a conditional generator that has seen the budget's labels alone is
the honest form of it. Deviations of `triple` apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Ema, Nets, Noise, Phase, State, setting
from variants.parts.confident import Loss, Schedule
from variants.parts.losses import accuracy
from variants.parts.recipes import common
from variants.triple import COMMON_COLOUR, COMMON_TRIPLE, TUNED, Triple, TripleRecipe


class TransferRecipe(TripleRecipe):
    transfer_share: float = setting(0.3, "share of the steps, the last, that train the student", gt=0, lt=1)
    transfer_lr: float | None = setting(None, "step size of the student; unset: lr", gt=0, le=1)


class Transfer(Triple):
    name = "transfer"
    version = 1
    recipe_type = TransferRecipe
    recipe: TransferRecipe
    recipes = {
        "paper": {"grey": TransferRecipe(epochs=1000, lr=1e-3, evaluations=60, evaluate_with="ema")},
        # Not tuned: the values found for `triple`.
        "common": common(TransferRecipe, COMMON_TRIPLE, TUNED, COMMON_COLOUR),
    }

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        nets = super().networks()
        return {**nets, "student": nets["classifier"]}

    def initialise(self, nets: Nets, batch: Mapping[str, Any], noise: Noise) -> None:
        super().initialise(nets, batch, noise)
        nets.student.calibrate(batch["images"], noise)

    def main_phases(self, steps: float, schedule: Schedule) -> tuple[Phase, ...]:
        r = self.recipe
        ema, lr = Ema(r.ema_decay), r.transfer_lr or r.lr
        student = self.player("student", self.student_loss, lambda progress: 1.0, lr=lr, ema=ema)
        gan = super().main_phases(steps * (1 - r.transfer_share), schedule)
        return (*gan, Phase("transfer", steps * r.transfer_share, (student,)))

    def student_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        images, labels = self.fakes(nets, noise, batch["unlabelled"])
        logits = nets.student(images, noise, update=True)
        return F.cross_entropy(logits, labels), {"accuracy": accuracy(logits, labels)}

    def classify(self, nets: Nets, images: Tensor) -> Tensor:
        return nets.student(images)
