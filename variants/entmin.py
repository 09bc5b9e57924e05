"""Entropy minimisation: Triple-GAN's classifier without the GAN, the control that shows what the GAN adds.

    L = mean_lab CE(c(x), y) + w_ent mean_unl H(p(x)) + w_bal CE(uniform, mean_unl p) + wd |W_last|^2,  p = softmax(c)

Network, batches, pre-training, schedule and averaging are those of `triple` (Li et al., arXiv:1703.02291, and the
authors' code), whose deviations apply. Grandvalet and Bengio (NIPS 2004) introduced the entropy term.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bench.variant import Choice, Ema, LogUniform, Nets, Noise, Phase, State
from variants.parts.confident import Confident, ConfidentRecipe, Loss, Schedule
from variants.parts.recipes import COMMON_SEARCH, common

COMMON_ENTMIN: dict[str, Any] = {
    "network": "mlp",
    "labelled_batch": 50,
    "unlabelled_batch": 50,
    "pretrain_epochs": 0,
    "weight_decay": 0.0,
}
# Not tuned yet: a starting point, the same for all data, that no comparison should rest on.
START: dict[str, Any] = {"lr": 3e-3, "input_noise": 0.2, "hidden_noise": 0.2, "ema_decay": 0.99}
TUNED: dict[str, dict[str, Any]] = {"digits": START, "grey": START, "vector": START}


class EntMin(Confident):
    name = "entmin"
    recipe_type = ConfidentRecipe
    recipe: ConfidentRecipe
    recipes = {
        "paper": {"grey": ConfidentRecipe(epochs=1000, lr=1e-3, evaluations=60, evaluate_with="ema")},
        "common": common(ConfidentRecipe, COMMON_ENTMIN, TUNED),
    }
    search = {
        **COMMON_SEARCH,
        "entropy_weight": Choice((0.03, 0.1, 0.3, 1.0)),
        "balance_weight": LogUniform(1e-3, 1.0),
    }

    def main_phases(self, steps: float, schedule: Schedule) -> tuple[Phase, ...]:
        classifier = self.player("classifier", self.classifier_loss, schedule, ema=Ema(self.recipe.ema_decay))
        return (Phase("main", steps, (classifier,)),)

    def classifier_loss(self, nets: Nets, batch: Any, noise: Noise, state: State, progress: Tensor) -> Loss:
        loss, logs, _ = self.semi_supervised(nets, batch, batch["unlabelled"], noise, self.recipe.balance_weight)
        return loss, logs
