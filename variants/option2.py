"""Option II: K logits read as D(x) = Z / (Z + 1), and a generator with the non-saturating loss; no feature matching.

    s(x) = logsumexp_k l_k(x),  Z = exp s,  D(x) = Z / (Z + 1) = sigmoid(s(x))
    L_D  = mean_lab CE(l(x), y) - w/2 mean_unl log D(x) - w/2 mean_gen log(1 - D(G(z)))
    L_G  = -1/2 mean_gen log D(G(z))

The head is Salimans et al.'s (arXiv:1606.03498, section 5), the generator's loss Goodfellow et al.'s (arXiv:1406.2661).
1. `paper` takes FM-GAN's networks, optimiser and schedule: what differs from `fm` is the generator's loss alone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bench.variant import Choice
from variants.parts.heads import k_logits_score
from variants.parts.recipes import (
    CIFAR10,
    CLASSIFIER_FIXED,
    COMMON_SEARCH,
    DECONVOLUTIONS,
    LARGE_GAN,
    SVHN,
    AdversarialRecipe,
    common,
)
from variants.parts.two_player import Adversarial

# Found by `bench tune` on validation images of digits, MNIST and two-circles, 20 trials each
# (results/reference/tuning); other grey and colour images take MNIST's,
# other vectors those of two-circles.
TUNED: dict[str, dict[str, Any]] = {
    "digits": {
        "beta1": 0.5,
        "ema_decay": 0.995,
        "hidden_noise": 0.7,
        "input_noise": 0.2,
        "lr": 0.00288,
        "unsupervised_weight": 3.0,
    },
    "grey": {
        "beta1": 0.5,
        "ema_decay": 0.99,
        "hidden_noise": 0.2,
        "input_noise": 0.4,
        "lr": 0.00188,
        "unsupervised_weight": 0.3,
    },
    "vector": {
        "beta1": 0.5,
        "ema_decay": 0.98,
        "hidden_noise": 0.2,
        "input_noise": 0.0,
        "lr": 0.0014,
        "unsupervised_weight": 0.3,
    },
}


class OptionII(Adversarial):
    name = "option2"
    version = 2
    recipes = {
        "paper": {
            "grey": AdversarialRecipe(epochs=300, lr=3e-3, evaluations=60, evaluate_with="ema"),
            "svhn": AdversarialRecipe(**SVHN, **DECONVOLUTIONS),
            "colour": AdversarialRecipe(**CIFAR10, **DECONVOLUTIONS),
            "large": AdversarialRecipe(**LARGE_GAN),
            "cats-dogs": AdversarialRecipe(**LARGE_GAN),
        },
        "common": common(AdversarialRecipe, {**CLASSIFIER_FIXED, "generator": (128, 128)}, TUNED),
    }
    search = {**COMMON_SEARCH, "unsupervised_weight": Choice((0.3, 1.0, 3.0))}

    def score(self, logits: Tensor) -> Tensor:
        return k_logits_score(logits)
