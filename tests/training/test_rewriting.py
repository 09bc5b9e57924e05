"""Rewritten graphs: the same bits with fewer operations and less memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.func import vmap

from bench.training import rewriting
from bench.training.tracing import Repeated, write_out


def calls(module: Any) -> list[str]:
    """The names of the operations; `_` at the end: one that writes over its first argument."""
    assert isinstance(module, fx.GraphModule)
    nodes = [node for node in module.graph.nodes if node.op in ("call_function", "call_method")]
    return [node.target if isinstance(node.target, str) else node.target.__name__ for node in nodes]


def weight_gradient(x: Tensor, weight: Tensor) -> Tensor:
    """Of a stacked linear layer, `[runs, outputs, inputs]`."""
    leaf = weight.detach().requires_grad_()
    return torch.autograd.grad(vmap(F.linear)(x, leaf).square().sum(), leaf)[0]


# --- what is left out ---


def test_operations_that_give_back_their_argument_are_left_out() -> None:
    def same(x: Tensor) -> Tensor:
        return x.view(2, 3).expand(2, 3).detach().pow(1) + 1

    written = write_out(same, (torch.zeros(2, 3),))
    assert calls(written) == ["add"]
    assert torch.equal(written(torch.ones(2, 3)), torch.full((2, 3), 2.0))


def test_shapes_that_change_are_kept() -> None:
    x = torch.arange(6.0)
    written = write_out(lambda x: x.view(2, 3).expand(4, 2, 3), (x,))
    assert calls(written) == ["view", "expand"]
    assert torch.equal(written(x), x.view(2, 3).expand(4, 2, 3))


def test_equal_operations_are_computed_once_unless_something_changes_in_place() -> None:
    def twice(x: Tensor) -> Tensor:
        return x.exp() * x.exp()

    def changing(x: Tensor) -> Tensor:
        first, copy = x.exp(), x.pow(1)
        x.add_(1)
        return first * x.exp() * copy

    assert calls(write_out(twice, (torch.zeros(3),))).count("exp") == 1
    written = write_out(changing, (torch.zeros(3),))
    assert calls(written).count("exp") == 2
    a, b = torch.rand(3), torch.rand(3)
    for x in (a, b):
        assert torch.equal(written(x.clone()), changing(x.clone()))


def test_views_of_one_shape_are_one_however_their_sizes_are_written() -> None:
    def twice(x: Tensor) -> Tensor:
        return (x.view(3, 1, 4) + 1) * (x.view(3, 1, -1) + 1) * x.view(3, -1, 2).sum()

    written = write_out(twice, (torch.zeros(3, 4),))
    assert calls(written).count("view") == 2
    assert calls(written).count("add") == 1
    x = torch.randn(3, 4)
    assert torch.equal(written(x), twice(x))


@pytest.mark.parametrize("alike", [True, False])
def test_weight_gradients_are_computed_in_the_order_in_which_they_are_read(
    alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "_may_turn", lambda product: alike)
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((3, 16, 8), (3, 32, 8)))
    found = write_out(weight_gradient, (x, weight))(x, weight)
    assert found.is_contiguous() is alike
    assert found.numpy() == pytest.approx(weight_gradient(x, weight).numpy(), abs=1e-4)


def layout(f: Tensor, x: Tensor, progress: Tensor) -> Tensor:
    """A sum over a transposed product: its bits depend on the order in memory."""
    return (f.transpose(1, 2) @ x).transpose(1, 2).square().mean((1, 2))


def changed_factor(f: Tensor, x: Tensor, progress: Tensor) -> Tensor:
    product = f.transpose(1, 2) @ x
    f.mul_(progress)
    return product.transpose(1, 2) + 0


def changed_product(f: Tensor, x: Tensor, progress: Tensor) -> Tensor:
    product = f.transpose(1, 2) @ x
    product.transpose(1, 2).mul_(torch.where(progress > 0.5, 2.0, 1.0))
    return product.transpose(1, 2)


def used_twice(f: Tensor, x: Tensor, progress: Tensor) -> Tensor:
    product = f.transpose(1, 2) @ x
    return product.transpose(1, 2) + product.square().sum(1, keepdim=True).transpose(1, 2)


def shared_elements(f: Tensor, x: Tensor, progress: Tensor) -> Tensor:
    return (f[:, :1].expand(-1, f.shape[1], -1).transpose(1, 2) @ x).transpose(1, 2) + progress


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("use", [layout, changed_factor, changed_product, used_twice, shared_elements])
def test_a_product_that_is_used_otherwise_keeps_its_bits(use: Callable[..., Tensor], runs: int) -> None:
    generator = torch.Generator().manual_seed(2)
    repeated = Repeated(use, 0, use.__name__)
    for call in range(10):
        f, x = (torch.randn((runs, *shape), generator=generator) for shape in ((48, 64), (48, 128)))
        progress = torch.tensor(call / 10)
        f_again = f.clone()
        assert torch.equal(repeated(f, x, progress), use(f_again, x, progress)), call
        assert torch.equal(f, f_again)
    assert repeated.current is not use


@pytest.mark.usefixtures("no_warning")
def test_a_power_of_one_of_a_slice_keeps_its_place_in_memory() -> None:
    generator = torch.Generator().manual_seed(3)

    def use(x: Tensor) -> Tensor:
        return x[:, ::2].pow(1).sum()

    repeated = Repeated(use, 0, "power")
    for _ in range(20):
        x = torch.randn(64, 512, generator=generator)
        assert torch.equal(repeated(x), use(x))


@pytest.mark.parametrize("outputs", [1, 3, 8, 10, 11, 64])
def test_a_product_is_turned_only_where_that_leaves_its_bits(outputs: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((3, 50, 64), (3, outputs, 64)))
    assert torch.equal(write_out(weight_gradient, (x, weight))(x, weight), weight_gradient(x, weight))


# --- memory that is written over ---


def test_a_number_that_nobody_reads_again_is_written_over() -> None:
    def chain(x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(x * y + 1).exp()

    written = write_out(chain, (torch.zeros(3), torch.zeros(3)))
    assert calls(written) == ["mul", "add_", "relu_", "exp_"]
    x, y = torch.randn(3), torch.randn(3)
    assert torch.equal(written(x, y), chain(x, y))


def test_the_second_factor_is_written_over_where_the_first_is_needed() -> None:
    written = write_out(lambda x: x * x.exp(), (torch.zeros(3),))
    assert calls(written) == ["exp", "mul_"]
    x = torch.randn(3)
    assert torch.equal(written(x.clone()), x * x.exp())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x.exp(), x.exp() + 1),  # a result
        lambda x: x.exp().add(1) * x.exp(),  # read later
        lambda x: (x.exp().view(3, 1) * 2, x.exp() + 1),  # seen by a view
        lambda x: x.exp().sum(0, keepdim=True) * 2 + x,  # too small
        lambda x: (x.exp()[:, None] + x.exp()) * 1.5,  # two shapes
        lambda x: x.exp() > 1,  # another type
    ],
)
def test_nothing_that_is_still_needed_is_written_over(function: Callable[..., Any]) -> None:
    written = write_out(function, (torch.zeros(3),))
    x = torch.randn(3)
    before = x.clone()
    torch.testing.assert_close(written(x), function(x), rtol=0, atol=0)
    torch.testing.assert_close(x, before, rtol=0, atol=0)
