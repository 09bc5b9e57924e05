"""The permutation-invariant networks of Salimans et al. (arXiv:1606.03498, MNIST) for any image shape and width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.variant import Noise, Task
from variants.parts.layers import (
    BatchNorm,
    GaussianNoise,
    Layer,
    Linear,
    Stack,
    WeightNormLinear,
)
from variants.parts.losses import quick_sigmoid, quick_softplus
from variants.parts.techniques import MinibatchDiscrimination, Referenced, VirtualBatchNorm

LATENT = 100  # z ~ U[0, 1)^100 in FM-GAN, Bad GAN and Triple-GAN
Latent = Literal["uniform", "symmetric", "normal"]


def sample(noise: Noise, batch: int, latent: int, kind: Latent = "uniform") -> Tensor:
    """z `[batch, latent]`: uniform in [0, 1) or (`symmetric`) in [-1, 1), or standard normal."""
    if kind == "normal":
        return noise.normal(batch, latent)
    z = noise.uniform(batch, latent)
    return 2 * z - 1 if kind == "symmetric" else z


def neighbours(z: Tensor, noise: Noise, step: float) -> Tensor:
    """z and z + delta for z `[batch, latent]` and delta of length `step` in a random direction: `[2 batch, latent]`."""
    u = noise.normal(*z.shape)
    return torch.cat([z, z + step * u * u.square().sum(-1, keepdim=True).rsqrt()])


class Softplus(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return quick_softplus(x)


class ToImage(nn.Module):
    """Maps `[batch, features]` to images `[batch, *image_shape]` in the data's range: sigmoid, tanh, or as it is."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.image_shape, self.value_range = task.image_shape, task.value_range

    def forward(self, x: Tensor) -> Tensor:
        if self.value_range is not None:
            low, high = self.value_range
            x = torch.tanh(x) if (low, high) == (-1.0, 1.0) else quick_sigmoid(x)
            x = x if (low, high) in ((-1.0, 1.0), (0.0, 1.0)) else low + (high - low) * x
        return x.reshape(-1, *self.image_shape)


class Classifier(Layer):
    """A body up to the feature layer and a head from features `[batch, features]` to logits."""

    def __init__(self, body: Stack, head: Stack) -> None:
        super().__init__()
        self.body, self.head = body, head
        activations = [i + 1 for i, layer in enumerate(body.layers) if isinstance(layer, nn.ReLU | nn.LeakyReLU)]
        self.ends = [*activations[:-1], len(body.layers)]  # where the body's hidden layers end

    def forward(
        self,
        x: Tensor,
        noise: Noise | None = None,
        update: bool = False,
        features: int = 0,
        from_features: int = 0,
    ) -> Tensor:
        """Images to logits.

        `features=1`: images to the features; 2: to the hidden layer before them, and so on. `from_features=1`: from the
        features to logits, and so on.
        """
        start = self.ends[-from_features] if from_features else 0
        if features:
            return self.body.between(start, self.ends[-features], x, noise, update)
        return self.head(self.body.between(start, len(self.body.layers), x, noise, update), noise, update)

    def calibrate(self, images: Tensor, noise: Noise) -> None:
        """Data-dependent initialisation on `images`, noise on (arXiv:1602.07868, section 3)."""
        self.head.calibrate(self.body.calibrate(images, noise), noise)


@dataclass(frozen=True)
class Minibatch:
    """Minibatch discrimination ahead of the last layer: so many kernels of so many dimensions, for a size of batch."""

    kernels: int
    dimensions: int
    batch: int

    def layers(self, inputs: int) -> list[nn.Module]:
        return [MinibatchDiscrimination(inputs, self.kernels, self.dimensions, self.batch)] if self.kernels else []


NO_MINIBATCH = Minibatch(0, 0, 0)


def noisy_classifier(
    task: Task,
    widths: Sequence[int],
    outputs: int,
    *,
    input_noise: float,
    hidden_noise: float,
    minibatch: Minibatch = NO_MINIBATCH,
) -> Classifier:
    """Weight-normalised layers with ReLU, Gaussian noise before each; hidden scales fixed, the last one trained.

    The features are the last hidden layer after its ReLU and before the next noise.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    sigma, inputs = input_noise, task.features
    for width in widths:
        layers += [GaussianNoise(sigma), WeightNormLinear(inputs, width), nn.ReLU()]
        sigma, inputs = hidden_noise, width
    last = WeightNormLinear(inputs + minibatch.kernels, outputs, train_scale=True)
    return Classifier(Stack(*layers), Stack(*minibatch.layers(inputs), GaussianNoise(sigma), last))


@dataclass(frozen=True)
class Norm:
    """Batch normalisation of a generator, which always uses the batch's own statistics, or those of a reference batch.

    It only shifts unless `gain`. `reference`: size of the reference batch of virtual batch norm; 0: the batch's own.
    """

    gain: bool = False
    eps: float = 1e-6
    reference: int = 0
    latent: Latent = "uniform"

    def layer(self, features: int) -> nn.Module:
        if self.reference:
            return VirtualBatchNorm(features, self.reference, gain=self.gain, eps=self.eps)
        return BatchNorm(features, gain=self.gain, running=False, eps=self.eps)

    def stack(self, latent: int, *layers: nn.Module) -> Stack:
        """The generator of these layers."""
        return Referenced(self.reference_batch(latent), *layers) if self.reference else Stack(*layers)

    def reference_batch(self, latent: int) -> Tensor:
        """z `[reference, latent]`, drawn as in training."""
        z = (torch.randn if self.latent == "normal" else torch.rand)(self.reference, latent)
        return 2 * z - 1 if self.latent == "symmetric" else z


BATCH_NORM = Norm()


def generator(
    task: Task, widths: Sequence[int], norm: Norm = BATCH_NORM, *, latent: int = LATENT, std: float | None = None
) -> Stack:
    """z `[batch, latent]` to images: linear, batch norm, softplus; then a weight-normalised output layer.

    `std` is that of the output layer's directions (None: Glorot-uniform).
    """
    layers: list[nn.Module] = []
    inputs = latent
    for width in widths:
        layers += [Linear(inputs, width, bias=False), norm.layer(width), Softplus()]
        inputs = width
    return norm.stack(
        latent, *layers, WeightNormLinear(inputs, task.features, train_scale=True, std=std), ToImage(task)
    )


def plain_generator(task: Task, widths: Sequence[int], latent: int) -> Stack:
    """z `[batch, latent]` to images: linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, width in zip((latent, *widths), widths, strict=False):
        layers += [Linear(inputs, width), nn.ReLU()]
    return Stack(*layers, Linear(widths[-1], task.features), ToImage(task))


def encoder(task: Task, widths: Sequence[int], latent: int = LATENT) -> Stack:
    """Images to mean and log standard deviation of z, `[batch, 2 latent]`: linear, batch norm, ReLU; one more layer."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = task.features
    for width in widths:
        layers += [Linear(inputs, width, bias=False), BatchNorm(width, running=False), nn.ReLU()]
        inputs = width
    return Stack(*layers, WeightNormLinear(inputs, 2 * latent, train_scale=True, target_std=0.1))
