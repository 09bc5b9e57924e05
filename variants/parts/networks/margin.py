"""MarginGAN's networks for MNIST (DJjjjhao/MarginGAN): LeNet, and generator and discriminator of InfoGAN.

Weights start from N(0, 0.02^2). LeNet is for 28 x 28: images of another size are resized. G and D follow the size of
the images, up to a multiple of 4.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from bench.variant import Task
from variants.parts.layers import BatchNorm, GaussianNoise, Linear, Stack
from variants.parts.networks.mlp import Classifier, Minibatch, Norm
from variants.parts.networks.sources import Fit, Resize

SIDE, STD, LATENT = 28, 0.02, 62


def lenet(task: Task, input_noise: float) -> Classifier:
    """Two convolutions 5 x 5, each with ReLU and a maximum over 2 x 2; 500 hidden units."""
    channels = task.image_shape[0]
    body = Stack(
        Resize(SIDE), GaussianNoise(input_noise),
        started(nn.Conv2d(channels, 20, 5)), nn.ReLU(), nn.MaxPool2d(2),
        started(nn.Conv2d(20, 50, 5)), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), Linear(4 * 4 * 50, 500, std=STD), nn.ReLU(),
    )  # fmt: skip
    return Classifier(body, Stack(Linear(500, task.classes, std=STD)))


def infogan_discriminator(task: Task, minibatch: Minibatch) -> Classifier:
    """One output; convolutions 4 x 4 of stride 2; batch norm takes the statistics of the batch."""
    act, side = nn.LeakyReLU(0.2), quarter(task)
    units = 128 * side**2
    body = Stack(
        Resize(4 * side), started(nn.Conv2d(task.image_shape[0], 64, 4, 2, 1)), act,
        started(nn.Conv2d(64, 128, 4, 2, 1)), BatchNorm(128, running=False), act,
        nn.Flatten(), Linear(units, 1024, std=STD), BatchNorm(1024, running=False), act,
    )  # fmt: skip
    return Classifier(body, Stack(*minibatch.layers(1024), Linear(1024 + minibatch.kernels, 1, std=STD)))


def infogan_generator(task: Task, norm: Norm) -> Stack:
    """z `[batch, 62]` to images: two linear layers, two transposed convolutions 4 x 4."""
    side = quarter(task)
    units = 128 * side**2
    return norm.stack(
        LATENT, Linear(LATENT, 1024, std=STD), norm.layer(1024), nn.ReLU(),
        Linear(1024, units, std=STD), norm.layer(units), nn.ReLU(), nn.Unflatten(1, (128, side, side)),
        started(nn.ConvTranspose2d(128, 64, 4, 2, 1)), norm.layer(64), nn.ReLU(),
        started(nn.ConvTranspose2d(64, task.image_shape[0], 4, 2, 1)), Fit(task),
    )  # fmt: skip


def quarter(task: Task) -> int:
    """A quarter of the images' longer side, rounded up."""
    return -(-max(task.image_shape[1:]) // 4)


def started(layer: Any) -> Any:
    """Weights N(0, 0.02^2), bias 0."""
    nn.init.normal_(layer.weight, std=STD)
    nn.init.zeros_(layer.bias)
    return layer
