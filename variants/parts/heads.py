"""How a classifier's outputs say "real": a score s with D(x) = sigmoid(s(x)), so that log D = -softplus(-s).

Option I and Option II are the same function of a score; only where the fake logit comes from differs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def k_logits_score(logits: Tensor) -> Tensor:
    """Option II: K logits `[batch, K]`, fake logit fixed at 0. s = logsumexp_k l_k, D = Z / (Z + 1), `[batch]`.

    arXiv:1606.03498, section 5.
    """
    return torch.logsumexp(logits, -1)


def k_plus_one_score(logits: Tensor) -> Tensor:
    """Option I: logits `[batch, K + 1]`, the last one fake. s = logsumexp_{k<=K} l_k - l_{K+1}, D = 1 - p_{K+1}."""
    return torch.logsumexp(logits[:, :-1], -1) - logits[:, -1]
