"""Triple-GAN's networks for 32 x 32 colour images (arXiv:1703.02291, as in the authors' code).

The classifiers have ten convolutions of the same widths: `svhn` with batch norm, `cifar` with weight norm and mean-only
batch norm on whitened images, as in temporal ensembling (Laine and Aila, arXiv:1610.02242).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Noise, Task
from variants.parts.layers import (
    BatchNorm,
    Calibrated,
    Dropout,
    GaussianNoise,
    Layer,
    Linear,
    Stack,
    WeightNormConv,
    WeightNormDeconv,
    WeightNormLinear,
)
from variants.parts.networks.conv import SIDE, STD, Deconv, Enlarge, GlobalAveragePool, ToColour
from variants.parts.networks.mlp import BATCH_NORM, LATENT, NO_MINIBATCH, Classifier, Minibatch, Norm

# widths, kernels and paddings; after the third and the sixth: halved, half of it dropped
PLAN = [(128, 3, 1)] * 3 + [(256, 3, 1)] * 3 + [(512, 3, 0), (256, 1, 0), (128, 1, 0)]
POOLED = (2, 5)


def svhn_classifier(task: Task) -> Classifier:
    """Convolution, batch norm, leaky ReLU; dropout of the pixels; the logits are batch-normalised, too."""
    layers: list[nn.Module] = [Enlarge(SIDE), Dropout(0.2)]
    channels = task.image_shape[0]
    for index, (width, kernel, padding) in enumerate(PLAN):
        convolution = nn.Conv2d(channels, width, kernel, padding=padding, bias=False)
        nn.init.normal_(convolution.weight, std=STD)
        layers += [convolution, BatchNorm(width, eps=1e-4), nn.LeakyReLU(0.2)]
        layers += [nn.MaxPool2d(2), Dropout(0.5)] if index in POOLED else []
        channels = width
    head = Stack(Linear(channels, task.classes, std=STD), BatchNorm(task.classes, eps=1e-4))
    return Classifier(Stack(*layers, GlobalAveragePool()), head)


# --- CIFAR-10 ---


class MeanOnly(Calibrated, Layer):
    """Weight norm, then the batch's mean is taken away (arXiv:1602.07868, section 4): y - mean y + b.

    Evaluation takes away the running mean. `calibrate` sets the scales so that y has standard deviation 1.
    """

    RATE = 0.001  # of a new batch in the running mean

    def __init__(self, shape: tuple[int, ...], apply: Callable[[Tensor, Tensor], Tensor]) -> None:
        """`shape` of the weight; `apply(x, weight)` is the layer."""
        super().__init__()
        self.direction = nn.Parameter(torch.empty(shape))
        nn.init.normal_(self.direction, std=STD)
        self.scale, self.shift = nn.Parameter(torch.ones(shape[0])), nn.Parameter(torch.zeros(shape[0]))
        self.running_mean: Tensor
        self.register_buffer("running_mean", torch.zeros(shape[0]))
        self.apply_weight = apply

    def linear(self, x: Tensor) -> Tensor:
        norm = (self.direction.flatten(1).square().sum(1) + 1e-6).sqrt()
        factor = (self.scale / norm).view(-1, *[1] * (self.direction.dim() - 1))
        return self.apply_weight(x, self.direction * factor)

    def forward(self, x: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        y = self.linear(x)
        shape = [-1] + [1] * (y.dim() - 2)
        if noise is None:
            return y + (self.shift - self.running_mean).view(shape)
        mean = y.mean([d for d in range(y.dim()) if d != 1])
        if update:
            self.running_mean.mul_(1 - self.RATE).add_(self.RATE * mean.detach())
        return y + (self.shift - mean).view(shape)

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        y = self.linear(x).movedim(1, -1).flatten(0, -2)
        self.scale.div_(y.std(0, unbiased=False).clamp(min=1e-6))


class Whitened(nn.Module):
    """(x - mean) W; `matrix` gives the whitening matrix W `[features, features]` and the mean `[features]`."""

    def __init__(self, matrix: Callable[[], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        whitening, mean = self.matrix()
        return ((x.flatten(1) - mean) @ whitening).view(x.shape)


def zca(images: Iterable[Tensor], ridge: float = 1e-3) -> tuple[Tensor, Tensor]:
    """The whitening matrix `[features, features]` of images `[n, ...]` in parts, and their mean `[features]`.

    C^(-1/2) of the covariance C, to whose eigenvalues `ridge` is added. Sums over parts are kept in float64.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for part in images:
        rows = part.flatten(1)
        count, total = count + len(rows), total + rows.sum(0, dtype=torch.float64)
        squares = squares + _upper_product(rows)
    mean = total / count
    values, vectors = torch.linalg.eigh(squares / count - mean[:, None] * mean, UPLO="U")
    whitening = (vectors * (values.clamp(min=0) + ridge).rsqrt()) @ vectors.mT
    return whitening.float(), mean.float()


def _upper_product(rows: Tensor) -> Tensor:
    """X^T X in float64 with zeros in blocks below the diagonal, which `eigh` does not look at: half the work."""
    features = rows.shape[1]
    block = max(1, features // 8)
    product = torch.zeros(features, features, dtype=torch.float64, device=rows.device)
    for start in range(0, features, block):
        product[start : start + block, start:] = (rows[:, start : start + block].mT @ rows[:, start:]).double()
    return product


def cifar_classifier(task: Task, matrix: Callable[[], tuple[Tensor, Tensor]]) -> Classifier:
    """Weight norm with mean-only batch norm, leaky ReLU of slope 0.1, noise of 0.15 on the whitened images."""
    layers: list[nn.Module] = [Whitened(matrix), Enlarge(SIDE), GaussianNoise(0.15)]
    channels = task.image_shape[0]
    for index, (width, kernel, padding) in enumerate(PLAN):
        convolution = partial(F.conv2d, padding=padding)
        layers += [MeanOnly((width, channels, kernel, kernel), convolution), nn.LeakyReLU(0.1)]
        layers += [nn.MaxPool2d(2), Dropout(0.5)] if index in POOLED else []
        channels = width
    head = Stack(MeanOnly((task.classes, channels), F.linear))
    return Classifier(Stack(*layers, GlobalAveragePool()), head)


# --- generator and discriminator ---


def _with_label(x: Tensor, y: Tensor) -> Tensor:
    """One-hot `y [batch, K]` as further channels of `x`."""
    return torch.cat([x, y[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)


class ConvGenerator(Layer):
    """[z, y] to 4 x 4, then transposed convolutions; batch norm that only shifts, ReLU, y before every layer."""

    def __init__(self, task: Task, widths: Sequence[int], norm: Norm = BATCH_NORM) -> None:
        """`widths`: channels of 4 x 4, 8 x 8 and 16 x 16."""
        super().__init__()
        k, first = task.classes, 16 * widths[0]
        self.first = Linear(LATENT + k, first, bias=False, std=STD)
        self.norms = nn.ModuleList(norm.layer(n) for n in (first, *widths[1:]))
        self.deconvs = nn.ModuleList(Deconv(i + k, o) for i, o in pairwise(widths))
        self.last = WeightNormDeconv(widths[-1] + k, task.image_shape[0])
        self.image = ToColour(task)

    def forward(self, z: Tensor, y: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        """`z [batch, 100]`, one-hot `y [batch, K]`."""
        x = F.relu(self.norms[0](self.first(torch.cat([z, y], 1)), noise, update)).unflatten(1, (-1, 4, 4))
        for deconv, norm in zip(self.deconvs, self.norms[1:], strict=True):
            x = F.relu(norm(deconv(_with_label(x, y)), noise, update))
        return self.image(self.last(_with_label(x, y)))


class ConvPairDiscriminator(Layer):
    """The logit d(x, y) `[batch]`: two weight-normalised convolutions per width, leaky ReLU, y before every layer."""

    def __init__(self, task: Task, widths: Sequence[int], minibatch: Minibatch = NO_MINIBATCH) -> None:
        """`widths`: channels at full size, at half of it and at a quarter of it."""
        super().__init__()
        k, channels = task.classes, task.image_shape[0]
        convs = []
        for index, width in enumerate(widths):
            padding, last_stride = (1, 2) if index < 2 else (0, 1)
            for stride in (1, last_stride):
                convs.append(WeightNormConv(channels + k, width, 3, stride=stride, padding=padding, std=STD))
                channels = width
        self.enlarge, self.drop, self.convs = Enlarge(SIDE), Dropout(0.2), nn.ModuleList(convs)
        self.minibatch = Stack(*minibatch.layers(channels))
        self.last = WeightNormLinear(channels + minibatch.kernels + k, 1, train_scale=True, std=STD)

    def forward(self, x: Tensor, y: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        """`x [batch, *image_shape]`, one-hot `y [batch, K]`."""
        x = self.enlarge(x)
        for index, conv in enumerate(self.convs):
            x = self.drop(x, noise) if index % 2 == 0 else x
            x = F.leaky_relu(conv(_with_label(x, y)), 0.2)
        return self.last(torch.cat([self.minibatch(x.mean((2, 3)), noise), y], 1)).squeeze(1)
