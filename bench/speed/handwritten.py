"""What a careful user would write without this package: one run, plain modules, eager PyTorch, the library's own parts.

The yardstick of `bench speed`. It is written to be fast where that costs nothing: fused Adam, no gradient that nobody
uses, weight norm on the outputs instead of the weight matrix, dropout by comparison. It logs and checks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.speed.updates import Average, optimiser
from bench.variant import Adam, Ema

LATENT = 100


class Shuffled:
    """Endless minibatches of positions: permutation after permutation, the ragged end dropped."""

    def __init__(self, pool: int, size: int) -> None:
        self.pool, self.size, self.at = pool, size, pool

    def next(self) -> Tensor:
        """Positions `[size]`, fewer where the pool is smaller."""
        if self.at + self.size > self.pool:
            self.order, self.at = torch.randperm(self.pool), 0
        self.at += self.size
        return self.order[self.at - self.size : self.at]


class WeightNorm(nn.Module):
    """g (x . v) / |v| + b; g is trained where `train_scale`."""

    def __init__(self, inputs: int, outputs: int, train_scale: bool) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.randn(outputs, inputs) * 0.1)
        self.b = nn.Parameter(torch.zeros(outputs))
        self.g = nn.Parameter(torch.ones(outputs), requires_grad=train_scale)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.v) * (self.g / (self.v.square().sum(1) + 1e-6).sqrt()) + self.b


class Discriminator(nn.Module):
    """Gaussian noise, weight-normalised layer and ReLU, several times; a last noise and layer give the logits."""

    def __init__(self, widths: Sequence[int], sigmas: Sequence[float], randn: Callable[..., Tensor]) -> None:
        super().__init__()
        last = len(widths) - 2
        self.layers = nn.ModuleList(
            WeightNorm(i, o, train_scale=k == last) for k, (i, o) in enumerate(pairwise(widths))
        )
        self.sigmas, self.randn = sigmas, randn

    def forward(self, x: Tensor, features: bool = False) -> Tensor:
        x = x.flatten(1)
        *hidden, head = zip(self.layers, self.sigmas, strict=True)
        for layer, sigma in hidden:
            x = F.relu(layer(x + sigma * self.randn(*x.shape)))
        return x if features else head[0](x + head[1] * self.randn(*x.shape))


class Generator(nn.Module):
    """Linear, shift-only batch norm, softplus, several times; a weight-normalised layer and a sigmoid give pixels."""

    def __init__(self, widths: Sequence[int], pixels: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(i, o, bias=False) for i, o in pairwise(widths))
        self.shifts = nn.ParameterList(torch.zeros(o) for o in widths[1:])
        self.out = WeightNorm(widths[-1], pixels, train_scale=True)

    def forward(self, z: Tensor) -> Tensor:
        for linear, shift in zip(self.linears, self.shifts, strict=True):
            z = F.softplus(F.batch_norm(linear(z), None, None, None, shift, training=True, eps=1e-6))
        return torch.sigmoid(self.out(z))


def _optimiser(recipe: Any, parameters: Iterable[Tensor]) -> Any:
    spec = Adam((recipe.beta1, 0.999), eps_inside=recipe.eps_inside)
    return optimiser(spec, [p for p in parameters if p.requires_grad], recipe.lr)


class FMLoop:
    """FM-GAN by `recipe` on images `[n, *shape]` of grey levels 0 to `white`, some of them labelled."""

    def __init__(self, recipe: Any, images: Tensor, white: float, labelled: Tensor, labels: Tensor) -> None:
        """`labelled`: indices into `images`; `labels`: theirs, 0 to 9."""
        self.recipe, self.images, self.white, self.labelled, self.labels = recipe, images, white, labelled, labels
        pixels = images[0].numel()
        sigmas = [recipe.input_noise, *[recipe.hidden_noise] * len(recipe.classifier)]
        self.rand: Callable[..., Tensor] = torch.rand
        self.discriminator = Discriminator([pixels, *recipe.classifier, 10], sigmas, torch.randn)
        self.generator = Generator([LATENT, *recipe.generator], pixels)
        self.adam_d = _optimiser(recipe, self.discriminator.parameters())
        self.adam_g = _optimiser(recipe, self.generator.parameters())
        self.average = Average(Ema(recipe.ema_decay), self.discriminator)
        self.labelled_batches = Shuffled(len(labelled), recipe.batch)
        self.batches_d, self.batches_g = Shuffled(len(images), recipe.batch), Shuffled(len(images), recipe.batch)

    def step(self) -> None:
        chosen = self.labelled_batches.next()
        labelled, unlabelled = self.scaled(self.labelled[chosen]), self.scaled(self.batches_d.next())
        self.update_discriminator(labelled, self.labels[chosen], unlabelled)
        self.update_generator(self.scaled(self.batches_g.next()))

    def scaled(self, index: Tensor) -> Tensor:
        return self.images[index].float() / self.white

    def update_discriminator(self, labelled: Tensor, labels: Tensor, unlabelled: Tensor) -> Tensor:
        loss = self.discriminator_loss(labelled, labels, unlabelled)
        self.adam_d.zero_grad()
        loss.backward()
        self.adam_d.step()
        self.average.update()
        return loss.detach()

    def update_generator(self, real: Tensor) -> Tensor:
        loss = self.generator_loss(real)
        self.adam_g.zero_grad()
        loss.backward(inputs=list(self.generator.parameters()))
        self.adam_g.step()
        return loss.detach()

    def fakes(self) -> Tensor:
        """`[batch, pixels]`."""
        return self.generator(self.rand(self.recipe.batch, LATENT))

    def discriminator_loss(self, labelled: Tensor, labels: Tensor, unlabelled: Tensor) -> Tensor:
        with torch.no_grad():
            fake = self.fakes()
        images = torch.cat([labelled.flatten(1), unlabelled.flatten(1), fake])
        l_lab, l_unl, l_gen = self.discriminator(images).split([len(labelled), len(unlabelled), len(fake)])
        s_unl, s_gen = l_unl.logsumexp(1), l_gen.logsumexp(1)
        unsupervised = 0.5 * F.softplus(-s_unl).mean() + 0.5 * F.softplus(s_gen).mean()
        return F.cross_entropy(l_lab, labels) + self.recipe.unsupervised_weight * unsupervised

    def generator_loss(self, real: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.discriminator(real, features=True).mean(0)
        return F.mse_loss(self.discriminator(self.fakes(), features=True).mean(0), target)
