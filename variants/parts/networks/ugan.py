"""UGAN's networks for MNIST (arXiv:1910.08540, as in the authors' released code)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Noise, Task
from variants.parts.layers import BatchNorm, Dropout, GaussianNoise, Layer, Linear, Stack, WeightNormLinear
from variants.parts.networks.conv import Enlarge, GlobalAveragePool
from variants.parts.networks.mlp import NO_MINIBATCH, Classifier, Minibatch
from variants.parts.networks.triple import SIDE

SLOPE, IMAGE_NOISE, PAIR_NOISE = 0.2, 0.3, 0.2


def conv_classifier(task: Task) -> Classifier:
    """Convolutions 3 x 3 that keep the size, leaky ReLU before batch norm; the logits are batch-normalised, too."""
    blocks: list[nn.Module] = [Enlarge(SIDE), GaussianNoise(IMAGE_NOISE)]
    channels = task.image_shape[0]
    for width, pool in [(32, True), (64, False), (64, True), (128, False), (128, False)]:
        convolution = nn.Conv2d(channels, width, 3, padding=1)
        nn.init.normal_(convolution.weight, std=0.05)
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        blocks += [convolution, nn.LeakyReLU(SLOPE), BatchNorm(width)]
        blocks += [nn.MaxPool2d(2), Dropout(0.5)] if pool else []
        channels = width
    head = Stack(Linear(channels, task.classes, std=0.05), BatchNorm(task.classes))
    return Classifier(Stack(*blocks, GlobalAveragePool()), head)


class NoisyPairDiscriminator(Layer):
    """The logit d(x, y) `[batch]`: noise, y appended, a weight-normalised layer of trained scale, leaky ReLU."""

    def __init__(self, task: Task, widths: Sequence[int], minibatch: Minibatch = NO_MINIBATCH) -> None:
        super().__init__()
        self.minibatch = Stack(*minibatch.layers(widths[-1]))
        inputs = [width + task.classes for width in (task.features, *widths)]
        inputs[-1] += minibatch.kernels
        self.layers = nn.ModuleList(
            WeightNormLinear(i, o, train_scale=True, std=0.05) for i, o in zip(inputs, [*widths, 1], strict=True)
        )

    def forward(self, x: Tensor, y: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        """`x [batch, *image_shape]`, one-hot `y [batch, K]`."""
        hidden = x.flatten(1)
        for index, layer in enumerate(self.layers):
            if index:
                hidden = F.leaky_relu(hidden, SLOPE)
            if index == len(self.layers) - 1:
                hidden = self.minibatch(hidden, noise)
            if noise is not None:
                hidden = hidden + PAIR_NOISE * noise.normal(*hidden.shape)
            hidden = layer(torch.cat([hidden, y], 1))
        return hidden.squeeze(1)
