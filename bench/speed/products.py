"""The matrix products of a training step of `fm`: how many operations they are, and how fast they go by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

LATENT = 100  # inputs of the generator
SQUARE = 1024  # side of the matrices that give the rate of this machine

Layer = tuple[int, int]  # inputs, outputs of a weight `[outputs, inputs]`


class Product(NamedTuple):
    """One product of a linear layer on `rows` examples."""

    kind: Literal["forward", "weight", "input"]  # x W^T, g^T x, g W
    rows: int
    inputs: int
    outputs: int

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.inputs * self.outputs


class FMShape(NamedTuple):
    """The layers of FM-GAN's networks and the images per draw."""

    classifier: tuple[Layer, ...]  # the last one maps features to logits
    generator: tuple[Layer, ...]
    batch: int

    def products(self) -> list[Product]:
        """All of one step, in order. No gradient is taken by the images, by z, or by a rival's weights."""
        d, body, g, b = self.classifier, self.classifier[:-1], self.generator, self.batch
        return [
            *_all("forward", g, b), *_all("forward", d, 3 * b), *_all("weight", d, 3 * b), *_all("input", d[1:], 3 * b),
            *_all("forward", body, b), *_all("forward", g, b), *_all("forward", body, b),
            *_all("input", body, b), *_all("weight", g, b), *_all("input", g[1:], b),
        ]  # fmt: skip

    def formula(self) -> str:
        """The same count in closed form, with this shape's numbers."""
        d, g = _weights(self.classifier), _weights(self.generator)
        first, head, z = (_weights([layer]) for layer in (self.classifier[0], self.classifier[-1], self.generator[0]))
        total = 2 * self.batch * (9 * d - 3 * first + 3 * (d - head) + 4 * g - z)
        return (
            f"2 B (9 D - 3 d + 3 (D - h) + 4 G - z) = {total / 1e9:.3g} GFLOP with B = {self.batch} images per draw, "
            f"D = {d:,} and G = {g:,} weights, of which d = {first:,} in D's first layer, h = {head:,} in its last, "
            f"z = {z:,} in G's first"
        )


def fm_shape(features: int, classifier: Sequence[int], classes: int, generator: Sequence[int], batch: int) -> FMShape:
    """From hidden widths to layers."""
    return FMShape(_layers([features, *classifier, classes]), _layers([LATENT, *generator, features]), batch)


def flops(products: Iterable[Product]) -> int:
    return sum(product.flops for product in products)


def _all(kind: Literal["forward", "weight", "input"], layers: Iterable[Layer], rows: int) -> list[Product]:
    return [Product(kind, rows, *layer) for layer in layers]


def _layers(widths: Sequence[int]) -> tuple[Layer, ...]:
    return tuple(pairwise(widths))


def _weights(layers: Iterable[Layer]) -> int:
    return sum(inputs * outputs for inputs, outputs in layers)


def square() -> Callable[[], Tensor]:
    """One product of two square matrices of side `SQUARE`."""
    a, b, out = (torch.randn(SQUARE, SQUARE) for _ in range(3))
    return lambda: torch.mm(a, b, out=out)


def bare(products: Iterable[Product], runs: int | None = None) -> Callable[[], None]:
    """Does the products and nothing else; with `runs` for so many runs at once, as `vmap` does them."""
    lead = () if runs is None else (runs,)
    operands = [_operands(product, lead) for product in products]
    multiply = torch.mm if runs is None else torch.bmm

    def call() -> None:
        for a, b in operands:
            multiply(a, b)

    return call


def _operands(product: Product, lead: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Two factors `[*lead, m, k]` and `[*lead, k, n]`, transposed where back-propagation has them so."""
    kind, rows, inputs, outputs = product
    x, g, w = (torch.randn(*lead, *shape) for shape in ((rows, inputs), (rows, outputs), (outputs, inputs)))
    return {"forward": (x, w.mT), "weight": (g.mT, x), "input": (g, w)}[kind]
