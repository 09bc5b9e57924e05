"""Convolutions computed other ways: the numbers of torch's own, forward and backward, alone and under `vmap`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from bench.speed import convolutions
from bench.speed.convolutions import Computing, Convolution, Geometry, channels_last, unfolded

RUNS = 3
CALLS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], dict[str, Any]]] = {
    "plain": (F.conv2d, (5, 2, 3, 3), {}),
    "moved": (F.conv2d, (5, 2, 3, 3), {"stride": 2, "padding": (1, 0)}),
    "oblong": (F.conv2d, (5, 2, 4, 2), {"stride": (1, 2), "padding": 1}),
    "transposed": (F.conv_transpose2d, (2, 5, 5, 5), {"stride": 2, "padding": 2, "output_padding": 1}),
    "transposed, oblong": (F.conv_transpose2d, (2, 5, 4, 3), {"stride": (2, 1), "padding": (1, 0)}),
}


def numbers(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    return torch.randn(RUNS, *shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.fixture(params=[False, True], ids=["columns", "views"])
def patches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way to copy patches, whatever the device."""
    if request.param:
        monkeypatch.setattr(convolutions, "_columns", convolutions._views)


@pytest.mark.usefixtures("patches")
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("convolution", [unfolded, channels_last])
def test_numbers_and_gradients_are_those_of_torch(
    convolution: Convolution, call: Any, biased: bool, stacked: bool
) -> None:
    function, shape, named = call
    inputs = [numbers(4, 2, 9, 8), numbers(*shape), *([numbers(5)] if biased else [])]
    rows = [[t[run] for t in inputs] for run in range(RUNS)]
    expected = torch.stack([function(*row, **named) for row in rows])
    weighting = torch.linspace(-1, 1, expected.numel(), dtype=torch.float64).view(expected.shape)

    def one(*tensors: Tensor) -> Tensor:
        with Computing(convolution, stacked):
            return function(*tensors, **named)

    found = vmap(one)(*inputs) if stacked else torch.stack([one(*row) for row in rows])
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    pairs = (torch.autograd.grad(y, inputs, weighting) for y in (found, expected))
    for own, other in zip(*pairs, strict=True):
        assert torch.allclose(own, other, rtol=1e-12, atol=1e-12)


def test_a_weight_that_all_runs_share() -> None:
    images, weight = numbers(4, 2, 9, 8), numbers(5, 2, 3, 3)[0]

    def one(x: Tensor) -> Tensor:
        with Computing(unfolded, stacked=True):
            return F.conv2d(x, weight)

    assert torch.allclose(vmap(one)(images), torch.stack([F.conv2d(x, weight) for x in images]))


@pytest.mark.parametrize("named", [{"dilation": 2}, {"groups": 2}, {"padding": "same"}])
def test_what_is_not_known_goes_the_usual_way(named: dict[str, Any]) -> None:
    def never(*arguments: Any) -> Tensor:
        raise AssertionError

    x, weight = torch.randn(1, 2, 8, 8), torch.randn(4, 2 // named.get("groups", 1), 3, 3)
    with Computing(never, stacked=False):
        found = F.conv2d(x, weight, **named)
    assert torch.equal(found, F.conv2d(x, weight, **named))


def test_layers_are_reached_as_well() -> None:
    seen: list[Geometry] = []

    def noted(x: Tensor, weight: Tensor, bias: Tensor | None, how: Geometry) -> Tensor:
        seen.append(how)
        return unfolded(x, weight, bias, how)

    layer, x = torch.nn.Conv2d(2, 3, 3, stride=2, padding=1), torch.randn(1, 2, 8, 8)
    with Computing(noted, stacked=False):
        found = layer(x)
    assert seen == [Geometry((2, 2), (1, 1))]
    assert torch.allclose(found, layer(x), atol=1e-6)
