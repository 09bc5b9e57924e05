"""A small density model: MADE (Germain et al., arXiv:1502.03509) with a mixture for every variable.

    log p(x) = sum_i log p(x_i | x_1 ... x_{i-1}),  each factor a mixture of M logistic or normal distributions

Grey and colour images take the discretised logistic mixture of PixelCNN++ (arXiv:1701.05517, section 2.1), in nats for
one of `levels` + 1 values per pixel and channel; data without bounds take a mixture of normal densities.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Noise, Task
from variants.parts.layers import Layer, Linear
from variants.parts.losses import softplus

LEAST_LOG_SCALE = -7.0
BROAD, BROAD_SCALE = 0.02, 0.5  # weight and scale of the component that `calibrate` spreads over all values


class MaskedLinear(nn.Module):
    """x (mask * W)^T + b."""

    def __init__(self, mask: Tensor) -> None:
        """`mask [outputs, inputs]` of zeros and ones."""
        super().__init__()
        outputs, inputs = mask.shape
        self.linear = Linear(inputs, outputs, std=1 / math.sqrt(inputs))
        self.mask: Tensor
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.linear.bias
        assert bias is not None
        return F.linear(x, self.linear.weight * self.mask) + bias


class MADE(Layer):
    """log p(x) `[batch]` for images `[batch, *image_shape]`; variables in raster order."""

    def __init__(self, task: Task, hidden: int, mixtures: int, levels: int) -> None:
        """`levels`: steps between the darkest and the lightest value that the data can take, 255 for 8 bits."""
        super().__init__()
        d = task.features
        self.value_range, self.mixtures, self.levels = task.value_range, mixtures, levels
        degree = 1 + torch.arange(hidden) % max(d - 1, 1)  # unit h sees the variables 1 ... degree
        variable = torch.arange(1, d + 1)
        self.first = MaskedLinear((degree[:, None] >= variable).float())
        self.last = MaskedLinear((variable[:, None] > degree).float().repeat(3 * mixtures, 1))
        self.last.linear.bias = nn.Parameter(torch.zeros(3 * mixtures * d))

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Starts from independent variables as these `images [n, *image_shape]` have them.

        The first component of each variable is broad; the others share its values out evenly.
        """
        x = self._centred(images.flatten(1)).sort(0).values
        narrow = self.mixtures - 1
        edges = x[torch.linspace(0, len(x) - 1, 2 * narrow + 1, device=x.device).round().long()]
        start = torch.full((3, self.mixtures, x.shape[1]), math.log((1 - BROAD) / max(narrow, 1)), device=x.device)
        start[0, 0] = math.log(BROAD) if narrow else 0.0
        start[1] = torch.cat([x.mean(0, keepdim=True), edges[1::2]])
        start[2, 0] = math.log(BROAD_SCALE)
        start[2, 1:] = ((edges[2::2] - edges[:-1:2]) / 4).clamp(min=math.exp(LEAST_LOG_SCALE)).log()
        self.last.linear.load_state_dict({"weight": torch.zeros_like(self.last.linear.weight), "bias": start.flatten()})

    def forward(self, x: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        x = self._centred(x.flatten(1))
        parts = self.last(torch.tanh(self.first(x))).unflatten(-1, (3, self.mixtures, -1))  # [batch, 3, M, d]
        log_weight = F.log_softmax(parts[:, 0], 1)
        mean, log_scale = parts[:, 1], parts[:, 2].clamp(min=LEAST_LOG_SCALE)
        density = _normal if self.value_range is None else self._logistic
        return torch.logsumexp(log_weight + density(x.unsqueeze(1), mean, log_scale), 1).sum(-1)

    def _centred(self, x: Tensor) -> Tensor:
        """Bounded data in [-1, 1], others as they are."""
        if self.value_range is None:
            return x
        low, high = self.value_range
        return 2 * (x - low) / (high - low) - 1

    def _logistic(self, x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """log P(the bin of x); the outermost bins reach to infinity."""
        half, inverse = 1 / self.levels, torch.exp(-log_scale)
        upper, lower = (x - mean + half) * inverse, (x - mean - half) * inverse
        log_below, log_above = -softplus(-upper), -softplus(lower)
        # sigma(u) - sigma(l) = sigma(u) sigma(-l) (1 - exp(l - u))
        inside = log_below + log_above + torch.log(-torch.expm1(-2 * half * inverse))
        return torch.where(x < half - 1, log_below, torch.where(x > 1 - half, log_above, inside))


def _normal(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    return -0.5 * ((x - mean) * torch.exp(-log_scale)).square() - log_scale - 0.5 * math.log(2 * math.pi)
