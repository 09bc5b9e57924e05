"""Networks of published code on semi-supervised GANs, for any image: what has another size is resized.

`silva`: SVHN 32 x 32 (sthalles/blog-resources, after udacity/deep-learning). `ghaboosi`: MNIST 28 x 28
(nejlag/Semi-Supervised-Learning-GAN). `raghav`: MNIST 64 x 64 (raghav64/SemiSuper_GAN). `sgan`: MNIST 28 x 28
(GANs-in-Action/gans-in-action, chapter 7). All were written for TensorFlow: its "same" padding puts the odd pixel below
and to the right, kernels start Glorot-uniform, batch norm has eps 1e-3 and moves its statistics by a hundredth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Task
from variants.parts.layers import BatchNorm, Dropout, Linear, Stack
from variants.parts.networks.conv import GlobalAveragePool
from variants.parts.networks.mlp import LATENT, Classifier, Minibatch, Norm

EPS, RATE = 1e-3, 0.01  # of batch norm
SIDES = {"silva": 32, "ghaboosi": 28, "raghav": 64, "sgan": 28}


class SameConv(nn.Module):
    """A convolution whose output has 1 / stride of the input's size, rounded up."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = glorot(nn.Conv2d(inputs, outputs, kernel, stride))
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            missing = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return self.conv(F.pad(x, pads))


def glorot(layer: Any) -> Any:
    """Weights Glorot-uniform, bias 0."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def valid_conv(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return glorot(nn.Conv2d(inputs, outputs, kernel))


def deconv(inputs: int, outputs: int, kernel: int, stride: int, *, same: bool = True) -> nn.Module:
    """A transposed convolution; `same`: the output has `stride` times the input's size."""
    padding = -(-(kernel - stride) // 2) if same else 0
    extra = 2 * padding + stride - kernel if same else 0
    return glorot(nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, extra))


class Resize(nn.Module):
    """Images to `side x side`: smaller ones by nearest neighbour, larger ones by averaging."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        if max(x.shape[2:]) > self.side:
            return F.adaptive_avg_pool2d(x, self.side)
        return x if min(x.shape[2:]) == self.side else F.interpolate(x, size=(self.side, self.side))


class Fit(nn.Module):
    """Images of the network's size to those of the task, tanh to the data's range."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        _, height, width = task.image_shape
        self.size, self.value_range = (height, width), task.value_range

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.value_range or (-1.0, 1.0)
        x = low + (high - low) * (0.5 + 0.5 * x.tanh())
        return x if x.shape[2:] == self.size else F.adaptive_avg_pool2d(x, self.size)


# --- classifiers ---


def source_classifier(
    name: str, task: Task, outputs: int, *, input_dropout: float, hidden_dropout: float, running: bool,
    minibatch: Minibatch,
) -> Classifier:  # fmt: skip
    """The classifier of that code. `running`: evaluation uses running statistics, else those of its batch."""

    def norm(width: int) -> BatchNorm:
        return BatchNorm(width, running=running, eps=EPS, rate=RATE)

    layers, features = _CLASSIFIERS[name](task.image_shape[0], Dropout(hidden_dropout), norm)
    body = Stack(Resize(SIDES[name]), Dropout(input_dropout), *layers)
    return Classifier(body, Stack(*minibatch.layers(features), Linear(features + minibatch.kernels, outputs)))


Layers = tuple[list[nn.Module], int]
NormOf = Callable[[int], BatchNorm]


def _silva(channels: int, drop: Dropout, norm: NormOf) -> Layers:
    act = nn.LeakyReLU(0.2)
    return [
        SameConv(channels, 64, 3, 2), act, drop,
        SameConv(64, 64, 3, 2), norm(64), act,
        SameConv(64, 64, 3, 2), norm(64), act, drop,
        SameConv(64, 128, 3, 1), norm(128), act,
        SameConv(128, 128, 3, 1), norm(128), act,
        valid_conv(128, 128, 3), act, GlobalAveragePool(),
    ], 128  # fmt: skip


def _ghaboosi(channels: int, drop: Dropout, norm: NormOf) -> Layers:
    act = nn.LeakyReLU(0.2)
    return [
        SameConv(channels, 32, 5, 2), act, drop,
        SameConv(32, 64, 3, 2), norm(64), act,
        SameConv(64, 128, 2, 2), norm(128), act, drop,
        SameConv(128, 128, 2, 2), act, nn.Flatten(),
    ], 512  # fmt: skip


def _raghav(channels: int, drop: Dropout, norm: NormOf) -> Layers:
    act = nn.LeakyReLU(0.2)
    return [
        SameConv(channels, 128, 4, 2), act, drop,
        SameConv(128, 256, 4, 2), act, norm(256), drop,
        SameConv(256, 512, 4, 4), act, norm(512), drop,
        valid_conv(512, 1024, 3), act, GlobalAveragePool(),
    ], 1024  # fmt: skip


def _sgan(channels: int, drop: Dropout, norm: NormOf) -> Layers:
    act = nn.LeakyReLU(0.01)
    return [
        SameConv(channels, 32, 3, 2), act,
        SameConv(32, 64, 3, 2), norm(64), act,
        SameConv(64, 128, 3, 2), norm(128), act, drop, nn.Flatten(),
    ], 2048  # fmt: skip


_CLASSIFIERS = {"silva": _silva, "ghaboosi": _ghaboosi, "raghav": _raghav, "sgan": _sgan}


# --- generators ---


def source_generator(name: str, task: Task, norm: Norm) -> Stack:
    """z `[batch, 100]` to images, by the generator of that code."""
    return norm.stack(LATENT, *_GENERATORS[name](task.image_shape[0], norm), Fit(task))


def _silva_generator(channels: int, norm: Norm) -> list[nn.Module]:
    act = nn.LeakyReLU(0.2)
    return [
        Linear(LATENT, 2048), nn.Unflatten(1, (128, 4, 4)), norm.layer(128), act,
        deconv(128, 64, 5, 2), norm.layer(64), act,
        deconv(64, 32, 5, 2), norm.layer(32), act,
        deconv(32, channels, 5, 2),
    ]  # fmt: skip


def _ghaboosi_generator(channels: int, norm: Norm) -> list[nn.Module]:
    return [
        nn.Unflatten(1, (LATENT, 1, 1)),
        deconv(LATENT, 100, 2, 1, same=False), norm.layer(100), nn.ReLU(),
        deconv(100, 64, 3, 2, same=False), norm.layer(64), nn.ReLU(),
        deconv(64, 32, 4, 2, same=False), norm.layer(32), nn.ReLU(),
        deconv(32, channels, 6, 2, same=False),
    ]  # fmt: skip


def _raghav_generator(channels: int, norm: Norm) -> list[nn.Module]:
    return [
        nn.Unflatten(1, (LATENT, 1, 1)),
        deconv(LATENT, 512, 4, 1, same=False), nn.ReLU(), norm.layer(512),
        deconv(512, 256, 4, 4), nn.ReLU(), norm.layer(256),
        deconv(256, 128, 4, 2), nn.ReLU(), norm.layer(128),
        deconv(128, channels, 4, 2),
    ]  # fmt: skip


def _sgan_generator(channels: int, norm: Norm) -> list[nn.Module]:
    act = nn.LeakyReLU(0.01)
    return [
        Linear(LATENT, 12544), nn.Unflatten(1, (256, 7, 7)),
        deconv(256, 128, 3, 2), norm.layer(128), act,
        deconv(128, 64, 3, 1), norm.layer(64), act,
        deconv(64, channels, 3, 2),
    ]  # fmt: skip


_GENERATORS = {
    "silva": _silva_generator, "ghaboosi": _ghaboosi_generator, "raghav": _raghav_generator, "sgan": _sgan_generator,
}  # fmt: skip
