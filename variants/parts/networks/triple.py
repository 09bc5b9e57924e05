"""Triple-GAN's networks (arXiv:1703.02291, as in the authors' code): MNIST's, and perceptrons of any width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.variant import Noise, Task
from variants.parts.layers import BatchNorm, Dropout, Layer, Linear, Stack, WeightNormLinear
from variants.parts.losses import quick_softplus
from variants.parts.networks.conv import Enlarge, GlobalAveragePool
from variants.parts.networks.mlp import LATENT, NO_MINIBATCH, Classifier, Minibatch, Norm, ToImage

NORM = Norm(gain=True, eps=1e-4)
SIDE = 28  # pixels; the network's pooling leaves nothing of smaller images


def conv_classifier(task: Task) -> Classifier:
    """Five convolutions with batch norm, ReLU and dropout, global average pooling, one linear layer; no input noise."""
    blocks: list[nn.Module] = [Enlarge(SIDE)]
    plan = [(32, 5, 0, True), (64, 3, 1, False), (64, 3, 0, True), (128, 3, 1, False), (128, 3, 1, False)]
    channels = task.image_shape[0]
    for width, kernel, padding, pool in plan:
        convolution = nn.Conv2d(channels, width, kernel, padding=padding, bias=False)
        nn.init.normal_(convolution.weight, std=0.05)
        blocks += [convolution, BatchNorm(width, eps=1e-4), nn.ReLU()]
        blocks += [nn.MaxPool2d(2), Dropout(0.5)] if pool else []
        channels = width
    return Classifier(Stack(*blocks, GlobalAveragePool()), Stack(Linear(channels, task.classes, std=0.01)))


class ReferencedPairs(Layer):
    """A conditional generator with virtual batch norm: its reference batch goes ahead of every other."""

    def __init__(self, generator: Layer, z: Tensor, classes: int) -> None:
        """`z [reference, latent]`, to which every class in turn is given."""
        super().__init__()
        self.generator = generator
        self.z: Tensor
        self.y: Tensor
        self.register_buffer("z", z)
        self.register_buffer("y", torch.eye(classes)[torch.arange(len(z)) % classes])

    def forward(self, z: Tensor, y: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        """`z [batch, latent]`, one-hot `y [batch, K]`."""
        return self.generator(torch.cat([self.z, z]), torch.cat([self.y, y]), noise, update)[len(self.z) :]


class ConditionalGenerator(Layer):
    """[z, y] to images: linear, batch norm, softplus, with y appended before every layer.

    The output layer is weight-normalised with a trained scale. `norm_last`: softplus before batch norm, as in UGAN's
    code.
    """

    def __init__(self, task: Task, widths: Sequence[int], norm: Norm = NORM, *, norm_last: bool = False) -> None:
        super().__init__()
        self.norm_last = norm_last
        inputs = [LATENT, *widths]
        self.linears = nn.ModuleList(
            Linear(i + task.classes, o, bias=False) for i, o in zip(inputs, widths, strict=False)
        )
        self.norms = nn.ModuleList(norm.layer(width) for width in widths)
        self.out = WeightNormLinear(widths[-1] + task.classes, task.features, train_scale=True, std=None)
        self.image = ToImage(task)

    def forward(self, z: Tensor, y: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        """`z [batch, 100]`, one-hot `y [batch, K]`."""
        for linear, norm in zip(self.linears, self.norms, strict=True):
            z = linear(torch.cat([z, y], 1))
            z = norm(quick_softplus(z), noise, update) if self.norm_last else quick_softplus(norm(z, noise, update))
        return self.image(self.out(torch.cat([z, y], 1)))


class PairDiscriminator(Layer):
    """The logit d(x, y) `[batch]`: weight-normalised layers of fixed unit scale with ReLU.

    Gaussian noise goes on the image and on every hidden layer; y is appended after the noise, and after the first
    hidden layer once more before it, as in the authors' code.
    """

    def __init__(
        self,
        task: Task,
        widths: Sequence[int],
        input_noise: float,
        hidden_noise: float,
        minibatch: Minibatch = NO_MINIBATCH,
    ) -> None:
        super().__init__()
        self.input_noise, self.hidden_noise = input_noise, hidden_noise
        self.minibatch = Stack(*minibatch.layers(widths[-1]))
        inputs = [task.features + task.classes] + [w + task.classes for w in widths]
        inputs[1] += task.classes
        inputs[-1] += minibatch.kernels
        self.layers = nn.ModuleList(WeightNormLinear(i, o) for i, o in zip(inputs, [*widths, 1], strict=True))

    def forward(self, x: Tensor, y: Tensor, noise: Noise | None = None, update: bool = False) -> Tensor:
        """`x [batch, *image_shape]`, one-hot `y [batch, K]`."""
        hidden, sigma = x.flatten(1), self.input_noise
        for index, layer in enumerate(self.layers):
            if index:
                hidden, sigma = F.relu(hidden), self.hidden_noise
            if index == len(self.layers) - 1:
                hidden = self.minibatch(hidden, noise)
            if index == 1:
                hidden = torch.cat([hidden, y], 1)
            if noise is not None:
                hidden = hidden + sigma * noise.normal(*hidden.shape)
            hidden = layer(torch.cat([hidden, y], 1))
        return hidden.squeeze(1)
