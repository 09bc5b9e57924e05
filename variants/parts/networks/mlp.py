"""The permutation-invariant networks of Salimans et al. (arXiv:1606.03498, MNIST) for any image shape and width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.variant import Noise, Task
from variants.parts.layers import BatchNorm, GaussianNoise, Layer, Linear, Stack, WeightNormLinear, calibrate
from variants.parts.losses import quick_sigmoid, quick_softplus

LATENT = 100  # z ~ U[0, 1)^100 in FM-GAN, Bad GAN and Triple-GAN


def neighbours(noise: Noise, batch: int, latent: int, step: float) -> Tensor:
    """z and z + delta for z ~ U[0, 1)^latent and delta of length `step` in a random direction: `[2 batch, latent]`."""
    z, u = noise.uniform(batch, latent), noise.normal(batch, latent)
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
            x = torch.tanh(x) if (low, high) == (-1.0, 1.0) else low + (high - low) * quick_sigmoid(x)
        return x.reshape(-1, *self.image_shape)


class Classifier(Layer):
    """A body up to the feature layer and a head from features `[batch, features]` to logits."""

    def __init__(self, body: Stack, head: Stack) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(
        self,
        x: Tensor,
        noise: Noise | None = None,
        update: bool = False,
        features: bool = False,
        from_features: bool = False,
    ) -> Tensor:
        """Images to logits; `features`: images to features; `from_features`: features to logits."""
        hidden = x if from_features else self.body(x, noise, update)
        return hidden if features else self.head(hidden, noise, update)

    def calibrate(self, images: Tensor, noise: Noise) -> None:
        """Data-dependent initialisation on `images`, noise on (arXiv:1602.07868, section 3)."""
        calibrate(self.head, calibrate(self.body, images, noise), noise)


def noisy_classifier(
    task: Task, widths: Sequence[int], outputs: int, *, input_noise: float, hidden_noise: float
) -> Classifier:
    """Weight-normalised layers with ReLU, Gaussian noise before each; hidden scales fixed, the last one trained.

    The features are the last hidden layer after its ReLU and before the next noise.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    sigma, inputs = input_noise, task.features
    for width in widths:
        layers += [GaussianNoise(sigma), WeightNormLinear(inputs, width), nn.ReLU()]
        sigma, inputs = hidden_noise, width
    return Classifier(Stack(*layers), Stack(GaussianNoise(sigma), WeightNormLinear(inputs, outputs, train_scale=True)))


def generator(
    task: Task, widths: Sequence[int], *, gain: bool = False, eps: float = 1e-6, std: float | None = None
) -> Stack:
    """z `[batch, 100]` to images: linear, batch norm, softplus; then a weight-normalised output layer.

    Batch norm always uses the batch's own statistics, as in the authors' code, and only shifts unless `gain`; `std` is
    that of the output layer's directions (None: Glorot-uniform).
    """
    layers: list[nn.Module] = []
    inputs = LATENT
    for width in widths:
        norm = BatchNorm(width, gain=gain, running=False, eps=eps)
        layers += [Linear(inputs, width, bias=False), norm, Softplus()]
        inputs = width
    return Stack(*layers, WeightNormLinear(inputs, task.features, train_scale=True, std=std), ToImage(task))


def encoder(task: Task, widths: Sequence[int]) -> Stack:
    """Images to mean and log standard deviation of z, `[batch, 200]`: linear, batch norm, ReLU; then one more layer."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = task.features
    for width in widths:
        layers += [Linear(inputs, width, bias=False), BatchNorm(width, running=False), nn.ReLU()]
        inputs = width
    return Stack(*layers, WeightNormLinear(inputs, 2 * LATENT, train_scale=True, target_std=0.1))
