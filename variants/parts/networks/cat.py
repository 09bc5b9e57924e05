"""CatGAN's permutation-invariant networks (arXiv:1511.06390, appendix): batch norm and leaky ReLU everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bench.variant import Task
from variants.parts.layers import BatchNorm, GaussianNoise, Linear, Stack
from variants.parts.networks.mlp import Classifier, Minibatch, Norm, ToImage

SLOPE = 0.1


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
