"""Loss terms as plain formulas. Reductions are means over the batch unless a docstring says otherwise.

`softplus`, `sigmoid` and their quick forms give an element the same bits however many elements stand beside it; the
library's own kernels use another exponential for the last few elements of a tensor.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return -F.logsigmoid(-x)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return F.logsigmoid(x).exp()


def quick_softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) for hidden layers: exact to about 1e-7, not to the last digit of tiny values; half the time."""
    shift = x.detach().clamp(min=0)
    return shift + ((x - shift).exp() + (-shift).exp()).log()


def quick_sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)) for pixels: exact to about 1e-7 up to |x| = 10 and to 1e-6 beyond."""
    return (-quick_softplus(-x)).exp()


def real_loss(score: Tensor, smoothing: float = 0.0) -> Tensor:
    """-mean log D for D = sigmoid(score), `score [batch]`; with smoothing, -mean [(1 - s) log D + s log(1 - D)]."""
    loss = softplus(-score).mean()
    return loss + smoothing * score.mean() if smoothing else loss


def fake_loss(score: Tensor) -> Tensor:
    """-mean log(1 - D) for D = sigmoid(score), `score [batch]`."""
    return softplus(score).mean()


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """Mean over features of the squared difference of batch means, features `[batch, features]`.

    arXiv:1606.03498, section 3.1, divided by the number of features as in the authors' MNIST code. The target is the
    real side: it arrives detached where the features' network belongs to another player.
    """
    return (fake.mean(0) - real.mean(0)).square().mean()


def feature_matching_sum(real: Tensor, fake: Tensor) -> Tensor:
    """The squared norm of the difference of batch means, as arXiv:1606.03498, section 3.1, has it."""
    return (fake.mean(0) - real.mean(0)).square().sum()


def feature_matching_l1(real: Tensor, fake: Tensor) -> Tensor:
    """Mean over features of the absolute difference of batch means, as in Salimans et al.'s code for colour images."""
    return (fake.mean(0) - real.mean(0)).abs().mean()


MATCHING = {"mean-square": feature_matching, "squared-norm": feature_matching_sum, "l1": feature_matching_l1}


def mean_cosine(features: Tensor) -> Tensor:
    """The mean of the cosines between all rows of `features [batch, ...]`, each with itself among them."""
    return _cosines(features).mean()


def pull_away(features: Tensor) -> Tensor:
    """Mean squared cosine between different rows of `features [batch, ...]` (arXiv:1609.03126, section 2.4)."""
    n = len(features)
    squares = _cosines(features).square()
    return (squares.sum() - squares.diagonal().sum()) / (n * (n - 1))


def _cosines(features: Tensor) -> Tensor:
    """`[batch, batch]`"""
    features = features.flatten(1)
    unit = features * (features.square().sum(-1, keepdim=True) + 1e-12).rsqrt()
    return unit @ unit.mT


def entropy(logits: Tensor) -> Tensor:
    """Mean Shannon entropy in nats of softmax(logits), `logits [batch, K]`."""
    log_p = F.log_softmax(logits, -1)
    return -(log_p.exp() * log_p).sum(-1).mean()


def marginal_entropy(logits: Tensor) -> Tensor:
    """Shannon entropy in nats of the batch mean of softmax(logits), `logits [batch, K]`."""
    log_p = torch.logsumexp(F.log_softmax(logits, -1), 0) - math.log(len(logits))
    return -(log_p.exp() * log_p).sum()


def balance(logits: Tensor) -> Tensor:
    """Cross-entropy in nats between the uniform distribution and the batch mean of softmax(logits) `[batch, K]`.

    Probabilities are clipped to at least 1e-6, as in Triple-GAN's code.
    """
    mean_p = F.softmax(logits, -1).mean(0).clamp(min=1e-6)
    return -mean_p.log().mean()


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of `labels [batch]` that `logits [batch, K]` name."""
    return (logits.argmax(-1) == labels).to(torch.float32).mean()
