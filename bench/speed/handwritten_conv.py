"""The convolutional yardstick, by hand: pre-training of Triple-GAN's classifier (arXiv:1703.02291)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.speed.handwritten import Shuffled
from bench.speed.updates import Average
from bench.variant import Ema

SIDE = 28  # pixels


class Convolution(NamedTuple):
    """One convolution of the classifier and the side of its input; pooling may follow."""

    inputs: int
    channels: int
    kernel: int
    padding: int
    side: int
    pool: bool

    @property
    def side_after(self) -> int:
        return self.side + 2 * self.padding - self.kernel + 1


def _convolutions() -> list[Convolution]:
    found, inputs, side = [], 1, SIDE
    plan = [(32, 5, 0, True), (64, 3, 1, False), (64, 3, 0, True), (128, 3, 1, False), (128, 3, 1, False)]
    for channels, kernel, padding, pool in plan:
        found.append(Convolution(inputs, channels, kernel, padding, side, pool))
        inputs, side = channels, found[-1].side_after // (2 if pool else 1)
    return found


CONVOLUTIONS = _convolutions()


class Dropout(nn.Module):
    """Inverted dropout with rate 1/2 by comparison, which is faster than the library's on a CPU."""

    def __init__(self, rand: Callable[..., Tensor]) -> None:
        super().__init__()
        self.rand = rand

    def forward(self, x: Tensor) -> Tensor:
        return x * ((self.rand(*x.shape) >= 0.5) * 2.0)


def classifier() -> nn.Sequential:
    """Five convolutions with batch norm and ReLU on `[batch, 1, 28, 28]`, average pooling, one linear layer."""
    layers: list[nn.Module] = []
    for c in CONVOLUTIONS:
        layers += [nn.Conv2d(c.inputs, c.channels, c.kernel, padding=c.padding, bias=False)]
        layers += [nn.BatchNorm2d(c.channels, eps=1e-4), nn.ReLU()]
        layers += [nn.MaxPool2d(2), Dropout(torch.rand)] if c.pool else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CONVOLUTIONS[-1].channels, 10))


def conv_flops(images: int) -> int:
    """Operations of all convolutions, forward and backward; the images need no gradient."""
    passes = [2, *[3] * (len(CONVOLUTIONS) - 1)]
    return sum(
        2 * images * times * c.side_after**2 * c.channels * c.inputs * c.kernel**2
        for c, times in zip(CONVOLUTIONS, passes, strict=True)
    )


def bare_convolutions(batches: Sequence[int]) -> Callable[[], None]:
    """Does the convolutions of a step with these batches, forward and backward, and nothing else."""
    operands = [
        (
            torch.randn(batch, c.inputs, c.side, c.side),
            torch.randn(c.channels, c.inputs, c.kernel, c.kernel),
            torch.randn(batch, c.channels, c.side_after, c.side_after),
            c.padding,
            index > 0,
        )
        for batch in batches
        for index, c in enumerate(CONVOLUTIONS)
    ]

    def call() -> None:
        for x, weight, gradient, padding, deep in operands:
            F.conv2d(x, weight, padding=padding)
            sizes, wanted = ([1, 1], [padding, padding], [1, 1]), [deep, True, False]
            torch.ops.aten.convolution_backward(gradient, x, weight, None, *sizes, False, [0, 0], 1, wanted)

    return call


class PretrainingLoop:
    """Cross-entropy, entropy and balance of the classifier alone, on images `[n, 1, 28, 28]` of levels 0 to `white`."""

    def __init__(self, recipe: Any, images: Tensor, white: float, labelled: Tensor, labels: Tensor) -> None:
        """`labelled`: indices into `images`; `labels`: theirs, 0 to 9."""
        self.recipe, self.images, self.white, self.labelled, self.labels = recipe, images, white, labelled, labels
        self.net = classifier()
        self.adam = torch.optim.Adam(self.net.parameters(), lr=recipe.pretrain_lr, betas=(0.9, 0.999), fused=True)
        self.average = Average(Ema(recipe.ema_decay), self.net)
        self.labelled_batches = Shuffled(len(labelled), recipe.labelled_batch)
        self.batches = Shuffled(len(images), recipe.pretrain_batch)

    def step(self) -> None:
        chosen = self.labelled_batches.next()
        self.update(self.scaled(self.labelled[chosen]), self.labels[chosen], self.scaled(self.batches.next()))

    def scaled(self, index: Tensor) -> Tensor:
        return self.images[index].float() / self.white

    def update(self, labelled: Tensor, labels: Tensor, unlabelled: Tensor) -> Tensor:
        """One step; returns the loss."""
        loss = self.loss(labelled, labels, unlabelled)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.average.update()
        return loss.detach()

    def loss(self, labelled: Tensor, labels: Tensor, unlabelled: Tensor) -> Tensor:
        r, supervised = self.recipe, F.cross_entropy(self.net(labelled), labels)
        log_p = F.log_softmax(self.net(unlabelled), 1)
        p = log_p.exp()
        entropy = -(p * log_p).sum(1).mean()
        balance = -p.mean(0).clamp(min=1e-6).log().mean()
        decay = self.net.get_parameter(f"{len(self.net) - 1}.weight").square().sum()
        return supervised + r.entropy_weight * entropy + r.pretrain_balance_weight * balance + r.weight_decay * decay
