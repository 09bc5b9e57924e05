"""The networks of Salimans et al. (arXiv:1606.03498) and of Bad GAN (arXiv:1705.09783) for 32 x 32 colour images.

Smaller images are enlarged for the classifier, and the generator's are reduced to their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Task
from variants.parts.layers import (
    BatchNorm,
    ChannelDropout,
    Dropout,
    GaussianNoise,
    Linear,
    Stack,
    WeightNormConv,
    WeightNormDeconv,
    WeightNormLinear,
)
from variants.parts.networks.mlp import BATCH_NORM, LATENT, NO_MINIBATCH, Classifier, Minibatch, Norm

SIDE, SLOPE, STD = 32, 0.2, 0.05
Channels = Literal["none", "input", "all"]  # which dropouts drop whole channels


class Enlarge(nn.Module):
    """Images below `side` x `side` by nearest neighbour to that size; others as they are."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return x if min(x.shape[2:]) >= self.side else F.interpolate(x, size=(self.side, self.side))


class GlobalAveragePool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def conv_classifier(
    task: Task,
    widths: Sequence[int],
    outputs: int,
    *,
    input_noise: float,
    input_dropout: float,
    hidden_dropout: float,
    channel_dropout: Channels,
    minibatch: Minibatch = NO_MINIBATCH,
) -> Classifier:
    """Nine weight-normalised convolutions with leaky ReLU, of `widths[0]`, then `widths[1]` channels.

    The features are the global average of the last one; all scales are fixed but those of the logits.
    """
    drop_input = Dropout if channel_dropout == "none" else ChannelDropout
    drop = ChannelDropout if channel_dropout == "all" else Dropout
    layers: list[nn.Module] = [Enlarge(SIDE), GaussianNoise(input_noise), drop_input(input_dropout)]
    channels = task.image_shape[0]
    for width in widths:
        for stride in (1, 1, 2):
            layers += [WeightNormConv(channels, width, 3, stride=stride, padding=1), nn.LeakyReLU(SLOPE)]
            channels = width
        layers.append(drop(hidden_dropout))
    for kernel in (3, 1, 1):
        layers += [WeightNormConv(channels, channels, kernel), nn.LeakyReLU(SLOPE)]
    last = WeightNormLinear(channels + minibatch.kernels, outputs, train_scale=True, std=STD, target_std=0.1)
    return Classifier(Stack(*layers, GlobalAveragePool()), Stack(*minibatch.layers(channels), last))


class Deconv(nn.Module):
    """A transposed convolution 5 x 5 without bias that doubles the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs, 5, 5))
        nn.init.normal_(self.weight, std=STD)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.weight, stride=2, padding=2, output_padding=1)


class ToColour(nn.Module):
    """Maps `[batch, channels, 32, 32]` into the data's range, tanh to [-1, 1], and to the data's size."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        _, height, width = task.image_shape
        self.size, self.value_range = (height, width), task.value_range

    def forward(self, x: Tensor) -> Tensor:
        if self.value_range is not None:
            low, high = self.value_range
            x = torch.tanh(x) if (low, high) == (-1.0, 1.0) else low + (high - low) * (0.5 + 0.5 * torch.tanh(x))
        return x if x.shape[2:] == self.size else F.adaptive_avg_pool2d(x, self.size)


def conv_generator(task: Task, widths: Sequence[int], norm: Norm = BATCH_NORM) -> Stack:
    """z `[batch, 100]` to images: linear to 4 x 4, then transposed convolutions; batch norm and ReLU between them.

    After the linear layer every unit has a norm of its own.
    """
    first, *others = widths
    units = first * (SIDE // 2 ** len(widths)) ** 2
    layers: list[nn.Module] = [
        Linear(LATENT, units, bias=False, std=STD),
        norm.layer(units),
        nn.ReLU(),
        nn.Unflatten(1, (first, SIDE // 2 ** len(widths), SIDE // 2 ** len(widths))),
    ]
    channels = first
    for width in others:
        layers += [Deconv(channels, width), norm.layer(width), nn.ReLU()]
        channels = width
    return norm.stack(LATENT, *layers, WeightNormDeconv(channels, task.image_shape[0]), ToColour(task))


def conv_encoder(task: Task, widths: Sequence[int]) -> Stack:
    """Images to mean and log standard deviation of z, `[batch, 200]`: strided convolutions 5 x 5, batch norm, ReLU."""
    layers: list[nn.Module] = [Enlarge(SIDE)]
    channels = task.image_shape[0]
    for width in widths:
        convolution = nn.Conv2d(channels, width, 5, stride=2, padding=2, bias=False)
        nn.init.normal_(convolution.weight, std=STD)
        layers += [convolution, BatchNorm(width, running=False), nn.ReLU()]
        channels = width
    units = channels * (SIDE // 2 ** len(widths)) ** 2
    last = WeightNormLinear(units, 2 * LATENT, train_scale=True, std=STD, target_std=0.1)
    return Stack(*layers, nn.Flatten(), last)
