"""CatGAN's networks for MNIST (arXiv:1511.06390, appendix): batch norm and leaky ReLU everywhere.

The convolutional ones are quoted second hand (the port in InfoCatGAN), without the padding of their convolutions: here
they keep the size, but for the generator's last, which makes 28 x 28 of 32 x 32. Images of another size are resized.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Task
from variants.parts.layers import BatchNorm, GaussianNoise, Linear, Stack
from variants.parts.networks.conv import GlobalAveragePool
from variants.parts.networks.mlp import Classifier, Minibatch, Norm, ToImage
from variants.parts.networks.sources import Fit, Resize

SLOPE, SIDE, FIRST = 0.1, 28, 8


def batch_norm_classifier(
    task: Task, widths: Sequence[int], outputs: int, *, input_noise: float, hidden_noise: float, minibatch: Minibatch
) -> Classifier:
    """Linear, batch norm, Gaussian noise on the pre-activation, leaky ReLU; the logits come from a plain layer."""
    layers: list[nn.Module] = [nn.Flatten(), GaussianNoise(input_noise)]
    inputs = task.features
    for width in widths:
        layers += [
            Linear(inputs, width, bias=False),
            BatchNorm(width),
            GaussianNoise(hidden_noise),
            nn.LeakyReLU(SLOPE),
        ]
        inputs = width
    head = Stack(*minibatch.layers(inputs), Linear(inputs + minibatch.kernels, outputs))
    return Classifier(Stack(*layers), head)


def leaky_generator(task: Task, latent: int, widths: Sequence[int], norm: Norm) -> Stack:
    """z `[batch, latent]` to images: linear, batch norm, leaky ReLU; then a plain layer into the data's range."""
    layers: list[nn.Module] = []
    inputs = latent
    for width in widths:
        layers += [Linear(inputs, width, bias=False), norm.layer(width), nn.LeakyReLU(SLOPE)]
        inputs = width
    return norm.stack(latent, *layers, Linear(inputs, task.features), ToImage(task))


def conv_batch_norm_classifier(
    task: Task, widths: Sequence[int], outputs: int, *, input_noise: float, hidden_noise: float, minibatch: Minibatch
) -> Classifier:
    """One convolution 5 x 5 of `widths[0]` channels, two 3 x 3 of `widths[1]`, each followed by a maximum, one of twice
    as many; their global average is the feature layer.

    The 1 x 1 convolution to classes before the average, as in the paper, is the same as a linear layer after it.
    """
    first, second = widths
    layers: list[nn.Module] = [Resize(SIDE), GaussianNoise(input_noise)]
    channels = task.image_shape[0]
    for width, kernel, pool in ((first, 5, True), (second, 3, False), (second, 3, True), (2 * second, 3, False)):
        layers += [_conv(channels, width, kernel), BatchNorm(width), GaussianNoise(hidden_noise), nn.LeakyReLU(SLOPE)]
        layers += [nn.MaxPool2d(3, 2, 1)] if pool else []
        channels = width
    head = Stack(*minibatch.layers(channels), Linear(channels + minibatch.kernels, outputs))
    return Classifier(Stack(*layers, GlobalAveragePool()), head)


class Perforated(nn.Module):
    """Twice the size: each value goes to the upper left corner of a square of zeros."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[..., :, None, :, None], (0, 1, 0, 0, 0, 1)).flatten(-2).flatten(-3, -2)


def perforated_generator(task: Task, latent: int, widths: Sequence[int], norm: Norm) -> Stack:
    """z to 8 x 8, then perforated enlargement and a convolution 5 x 5, twice, and one more to the image."""
    first, second, third = widths
    units = first * FIRST**2
    layers: list[nn.Module] = [
        Linear(latent, units, bias=False), norm.layer(units), nn.LeakyReLU(SLOPE),
        nn.Unflatten(1, (first, FIRST, FIRST)),
    ]  # fmt: skip
    for inputs, width in ((first, second), (second, third)):
        layers += [Perforated(), _conv(inputs, width, 5), norm.layer(width), nn.LeakyReLU(SLOPE)]
    return norm.stack(latent, *layers, nn.Conv2d(third, task.image_shape[0], 5), Fit(task))


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
