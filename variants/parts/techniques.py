"""Virtual batch norm and minibatch discrimination (Salimans et al., arXiv:1606.03498)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.variant import Noise
from variants.parts.layers import Calibrated, Layer, Stack, product


class VirtualBatchNorm(Layer):
    """Batch normalisation by a reference batch: the first rows of `[reference + batch, features (, height, width)]`.

    The reference is normalised by its own statistics, every other example by those of the reference and itself,
    weighted B : 1 (arXiv:1606.03498, section 3.5), so that no example depends on another one of its batch.
    """

    def __init__(self, features: int, reference: int, *, gain: bool, eps: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features)) if gain else None
        self.shift = nn.Parameter(torch.zeros(features))
        self.reference, self.eps = reference, eps

    def forward(self, x: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        maps = x if x.dim() == 4 else x[:, :, None, None]
        mean, square = maps.mean((2, 3)), maps.square().mean((2, 3))  # of each example, [reference + batch, features]
        common_mean, common_square = mean[: self.reference].mean(0), square[: self.reference].mean(0)
        own = 1 / (self.reference + 1)
        mean = torch.cat([common_mean.expand(self.reference, -1), self._blend(mean, common_mean, own)])
        square = torch.cat([common_square.expand(self.reference, -1), self._blend(square, common_square, own)])
        factor = ((square - mean.square()).clamp(min=0) + self.eps).rsqrt()
        if self.gain is not None:
            factor = factor * self.gain
        return ((maps - mean[:, :, None, None]) * factor[:, :, None, None] + self.shift[:, None, None]).view(x.shape)

    def _blend(self, each: Tensor, common: Tensor, own: float) -> Tensor:
        """The statistics of the examples after the reference, `[batch, features]`."""
        return own * each[self.reference :] + (1 - own) * common


class Referenced(Stack):
    """A generator with virtual batch norm: its reference batch, fixed at the start, goes ahead of every batch."""

    def __init__(self, reference: Tensor, *layers: nn.Module) -> None:
        """`reference [batch, latent]`: as z is in training."""
        super().__init__(*layers)
        self.reference: Tensor
        self.register_buffer("reference", reference)

    def forward(self, x: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        return super().forward(torch.cat([self.reference, x]), noise, update)[len(self.reference) :]

    def calibrate(self, x: Tensor, noise: Noise) -> Tensor:
        return super().calibrate(torch.cat([self.reference, x]), noise)[len(self.reference) :]


class MinibatchDiscrimination(Calibrated, Layer):
    """Appends to features `[batch, inputs]` how close each example is to the others of its batch (`kernels` numbers).

        M_i = f_i T in R^{kernels x dimensions},   o_ib = sum_{j != i} exp(-|M_ib - M_jb|_1) + bias_b

    (arXiv:1606.03498, section 3.2; as in the authors' code T has weight-normalised columns of trained scale.) The sum
    is that over a batch of size `batch`: one of another size is weighted to be worth as much.
    """

    def __init__(self, inputs: int, kernels: int, dimensions: int, batch: int) -> None:
        super().__init__()
        self.kernels, self.dimensions, self.others = kernels, dimensions, batch - 1
        self.direction = nn.Parameter(torch.empty(kernels * dimensions, inputs))
        nn.init.normal_(self.direction, std=0.05)
        self.log_scale = nn.Parameter(torch.zeros(kernels, dimensions))
        self.bias = nn.Parameter(-torch.ones(kernels))

    def forward(self, x: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        return torch.cat([x, self.closeness(x) + self.bias], 1)

    def closeness(self, x: Tensor) -> Tensor:
        """o without its bias, `[batch, kernels]`."""
        others = (-self.distances(x)).exp() * ~torch.eye(len(x), dtype=torch.bool, device=x.device).unsqueeze(-1)
        return others.sum(1) * (self.others / max(1, len(x) - 1))

    def distances(self, x: Tensor) -> Tensor:
        """|M_ib - M_jb|_1, `[batch, batch, kernels]`."""
        norm = (self.direction.square().sum(-1) + 1e-6).sqrt().view(self.kernels, self.dimensions)
        projected = product(x, self.direction).view(-1, self.kernels, self.dimensions) * (self.log_scale.exp() / norm)
        return (projected.unsqueeze(1) - projected.unsqueeze(0)).abs().sum(-1)

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Half the mean distance to the nearest neighbour becomes 1 for each kernel, and the mean output 0."""
        itself = torch.eye(len(x), dtype=torch.bool, device=x.device).unsqueeze(-1)
        nearest = self.distances(x).masked_fill(itself, torch.inf).amin(1).mean(0)  # [kernels]
        self.log_scale.sub_((0.5 * nearest).clamp(min=1e-6).log().unsqueeze(-1))
        self.bias.copy_(-self.closeness(x).mean(0))
