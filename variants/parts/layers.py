"""Layers with explicit noise. `forward(x, noise, update)`: no noise means evaluation; update moves running statistics.

Everything here has the same bits alone and stacked (`torch.func.vmap`). Weight normalisation scales the outputs instead
of the weight matrix, which saves two passes over the weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Noise


class Layer(nn.Module):
    """A layer whose forward takes `(x, noise, update)`; `Stack` calls any other module with `x` alone."""


class Calibrated(nn.Module):
    """A layer with a data-dependent initialisation."""

    def calibrate(self, x: Tensor) -> None:
        """Sets scales and biases from what reaches the layer."""
        raise NotImplementedError


class Stack(Layer):
    """Layers one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        return self.between(0, len(self.layers), x, noise, update)

    def between(self, start: int, end: int, x: Tensor, noise: Noise | None, update: bool) -> Tensor:
        """What the layers from `start` to before `end` make of x."""
        for layer in self.layers[start:end]:
            x = layer(x, noise, update) if isinstance(layer, Layer) else layer(x)
        return x

    @torch.no_grad()
    def calibrate(self, x: Tensor, noise: Noise) -> Tensor:
        """Data-dependent initialisation: each layer that has one is set in turn from what reaches it (noise on)."""
        for layer in self.layers:
            if isinstance(layer, Calibrated):
                layer.calibrate(x)
            x = layer(x, noise, False) if isinstance(layer, Layer) else layer(x)
        return x


class Mirrored(Noise):
    """Noise for a batch whose two halves get the same numbers: pairs of images that only differ in themselves."""

    def __init__(self, noise: Noise) -> None:
        super().__init__(noise._normal, noise._uniform)
        self.noise = noise

    def normal(self, *shape: int) -> Tensor:
        half = self.noise.normal(shape[0] // 2, *shape[1:])
        return torch.cat([half, half])

    def uniform(self, *shape: int) -> Tensor:
        half = self.noise.uniform(shape[0] // 2, *shape[1:])
        return torch.cat([half, half])


class GaussianNoise(Layer):
    """Adds N(0, sigma^2) in training."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor, noise: Noise | None, update: bool = False) -> Tensor:
        if noise is None or self.sigma == 0:
            return x
        return x + self.sigma * noise.normal(*x.shape)


class Dropout(Layer):
    """Inverted elementwise dropout in training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, noise: Noise | None, update: bool = False) -> Tensor:
        if noise is None or self.rate == 0:
            return x
        return x * noise.keep_mask(tuple(x.shape), self.rate)


class ChannelDropout(Dropout):
    """Inverted dropout of whole channels `[batch, channels, height, width]` in training."""

    def forward(self, x: Tensor, noise: Noise | None, update: bool = False) -> Tensor:
        if noise is None or self.rate == 0:
            return x
        return x * noise.keep_mask((*x.shape[:2], 1, 1), self.rate)


class Linear(nn.Module):
    """x W^T + b. One output is written as product and sum: a matrix product of that shape changes bits when stacked."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, std: float | None = None) -> None:
        """Weights are N(0, std^2), or Glorot-uniform where `std` is None; the bias starts at 0."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.xavier_uniform_(self.weight) if std is None else nn.init.normal_(self.weight, std=std)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = product(x, self.weight)
        return y if self.bias is None else y + self.bias


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T for `x [batch, inputs]`, `W [outputs, inputs]`."""
    return (x * weight).sum(-1, keepdim=True) if weight.shape[0] == 1 else F.linear(x, weight)


class WeightNorm(Calibrated):
    """What weight-normalised layers share: y_j = g_j (x . v_j) / sqrt(|v_j|^2 + 1e-6) + b_j (arXiv:1602.07868).

    g is a parameter where `train_scale`, else a buffer that stays as initialised. `calibrate` sets g and b from data:
    outputs then have mean 0 and standard deviation `target_std` on that batch (and over all pixels).
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, train_scale: bool, std: float | None, target_std: float):
        """Directions of `shape` are N(0, std^2), or Glorot-uniform where `std` is None; g starts at 1, b at 0."""
        super().__init__()
        self.direction = nn.Parameter(torch.empty(shape))
        nn.init.xavier_uniform_(self.direction) if std is None else nn.init.normal_(self.direction, std=std)
        self.bias = nn.Parameter(torch.zeros(outputs))
        if train_scale:
            self.scale: Tensor = nn.Parameter(torch.ones(outputs))
        else:
            self.register_buffer("scale", torch.ones(outputs))
        self.target_std = target_std

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        y = self(x).movedim(1, -1).flatten(0, -2) - self.bias  # [batch (and pixels), outputs]
        gain = self.target_std / y.std(0, unbiased=False).clamp(min=1e-6)
        self.scale.mul_(gain)
        self.bias.copy_(-y.mean(0) * gain)


class WeightNormLinear(WeightNorm):
    """A weight-normalised layer of `[batch, inputs]`; its scales multiply the outputs."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        train_scale: bool = False,
        std: float | None = 0.1,
        target_std: float = 1.0,
    ) -> None:
        super().__init__((outputs, inputs), outputs, train_scale, std, target_std)

    def forward(self, x: Tensor) -> Tensor:
        norm = (self.direction.square().sum(-1) + 1e-6).sqrt()
        return product(x, self.direction) * (self.scale / norm) + self.bias


class WeightNormConv(WeightNorm):
    """A weight-normalised convolution of `[batch, inputs, height, width]`; its scales multiply the kernels."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        std: float = 0.05,
    ) -> None:
        super().__init__((outputs, inputs, kernel, kernel), outputs, False, std, 1.0)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        norm = (self.direction.square().sum((1, 2, 3)) + 1e-6).sqrt()
        weight = self.direction * (self.scale / norm).view(-1, 1, 1, 1)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class WeightNormDeconv(WeightNorm):
    """A weight-normalised transposed convolution 5 x 5 that doubles the size; its scales are trained."""

    def __init__(self, inputs: int, outputs: int, *, std: float = 0.05, target_std: float = 0.1) -> None:
        super().__init__((inputs, outputs, 5, 5), outputs, True, std, target_std)

    def forward(self, x: Tensor) -> Tensor:
        norm = (self.direction.square().sum((0, 2, 3)) + 1e-6).sqrt()
        weight = self.direction * (self.scale / norm).view(1, -1, 1, 1)
        return F.conv_transpose2d(x, weight, self.bias, stride=2, padding=2, output_padding=1)


class BatchNorm(Layer):
    """Batch normalisation of `[batch, features]` or `[batch, channels, height, width]` (arXiv:1502.03167).

    Training normalises with the batch's own mean and biased variance. Evaluation uses the running statistics, unless
    `running` is off: then the batch's own are used always (a generator that is never run in evaluation mode).
    """

    def __init__(
        self, features: int, *, gain: bool = True, running: bool = True, eps: float = 1e-5, rate: float = 0.1
    ) -> None:
        """`gain`: learn a factor beside the shift. `rate`: share of a new batch in the running statistics."""
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features)) if gain else None
        self.shift = nn.Parameter(torch.zeros(features))
        self.eps, self.rate, self.running = eps, rate, running
        self.running_mean: Tensor
        self.running_var: Tensor
        if running:
            self.register_buffer("running_mean", torch.zeros(features))
            self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        if noise is None and self.running:
            return self._scaled(x, self.running_mean, self.running_var)
        if x.dim() == 4:
            y, mean, var = self._images(x)
        else:
            mean = x.mean(0)
            var = (x - mean).square().mean(0)
            y = self._scaled(x, mean, var)
        if update and self.running:
            self.running_mean.mul_(1 - self.rate).add_(self.rate * mean.detach())
            self.running_var.mul_(1 - self.rate).add_(self.rate * var.detach())
        return y

    def _images(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Output, mean and variance by torch's own kernel: twice as fast.

        Its gradient has other bits when it is stacked, but on a CPU networks of images run one by one.
        """
        y, mean, inverse = torch.native_batch_norm(x, self.gain, self.shift, None, None, True, 0.0, self.eps)
        return y, mean, inverse.detach().pow(-2) - self.eps

    def _scaled(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        shape = [-1 if d == 1 else 1 for d in range(x.dim())]
        factor = (var + self.eps).rsqrt()
        if self.gain is not None:
            factor = factor * self.gain
        return (x - mean.view(shape)) * factor.view(shape) + self.shift.view(shape)
