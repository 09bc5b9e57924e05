"""Operation counts against numbers worked out by hand, and against what torch itself counts."""

from __future__ import annotations

from collections import Counter

import pytest
from torch.utils.flop_counter import FlopCounterMode

from bench.speed.cases import case, step_flops
from bench.speed.handwritten_conv import bare_convolutions, conv_flops
from bench.speed.products import Product, bare, flops, fm_shape

MNIST = fm_shape(784, (1000, 500, 250, 250, 250), 10, (500, 500), 100)


def test_mnist_step_takes_3_76_gflop() -> None:
    assert flops(MNIST.products()) == 3_759_300_000
    assert "= 3.76 GFLOP" in MNIST.formula()


def test_products_of_a_tiny_step() -> None:
    """Two images per draw, 3 pixels, one hidden layer of 5 units each, 2 classes."""
    found = Counter(fm_shape(3, (5,), 2, (7,), 2).products())
    g = [(100, 7), (7, 3)]
    assert found == Counter(
        [
            *(Product("forward", 2, *layer) for layer in g * 2),
            *(Product("weight", 2, *layer) for layer in g),
            Product("input", 2, 7, 3),
            Product("forward", 6, 3, 5), Product("forward", 6, 5, 2), Product("weight", 6, 3, 5),
            Product("weight", 6, 5, 2), Product("input", 6, 5, 2), Product("forward", 2, 3, 5),
            Product("forward", 2, 3, 5), Product("input", 2, 3, 5),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("name", ["digits", "conv"])
def test_count_equals_what_torch_counts_in_a_step(name: str) -> None:
    chosen = case(name)
    loop = chosen.handwritten()
    with FlopCounterMode(display=False) as counter:
        loop.step()
    linear = 0
    if name == "conv":  # its one linear layer of 128 x 10, forward and two gradients, is left out
        linear = 3 * 2 * 128 * 10 * 100
    assert step_flops(chosen) == counter.get_total_flops() - linear


@pytest.mark.parametrize("runs", [None, 3])
def test_bare_products_do_what_they_count(runs: int | None) -> None:
    shape = fm_shape(64, (32, 16), 10, (24,), 8)
    call = bare(shape.products(), runs)
    with FlopCounterMode(display=False) as counter:
        call()
    assert counter.get_total_flops() == (runs or 1) * flops(shape.products())


def test_bare_convolutions_do_what_they_count() -> None:
    call = bare_convolutions([2, 3])
    with FlopCounterMode(display=False) as counter:
        call()
    assert counter.get_total_flops() == conv_flops(5)


def test_first_convolution_by_hand() -> None:
    """24 x 24 places, 32 channels, 5 x 5 x 1 weights: forward and the gradient of the weights."""
    rest = [(12, 64, 32, 9), (10, 64, 64, 9), (5, 128, 64, 9), (5, 128, 128, 9)]
    expected = 2 * 2 * 24**2 * 32 * 25 + sum(3 * 2 * side**2 * o * i * k for side, o, i, k in rest)
    assert conv_flops(1) == expected
