"""A function written out: the same bits with fewer operations, and no trust in functions that cannot be traced."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.func import vmap

from bench import registry
from bench.training import tracing
from bench.training.tracing import Repeated, write_out
from bench.training.trainer import Trainer
from bench.variant import Recipe

ATEN = torch.ops.aten
MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def calls(module: Any) -> list[str]:
    """The names of the operations; `_` at the end: one that writes over its first argument."""
    assert isinstance(module, fx.GraphModule)
    nodes = [node for node in module.graph.nodes if node.op in ("call_function", "call_method")]
    return [node.target if isinstance(node.target, str) else node.target.__name__ for node in nodes]


def weight_gradient(x: Tensor, weight: Tensor) -> Tensor:
    """Of a stacked linear layer, `[runs, outputs, inputs]`."""
    leaf = weight.detach().requires_grad_()
    return torch.autograd.grad(vmap(F.linear)(x, leaf).square().sum(), leaf)[0]


# --- the trainer ---


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("name", [name for name in registry.names() if name != "belt"])  # which has no grey images
def test_a_traced_training_has_the_bits_of_an_untraced_one(name: str, make_trainer: MakeTrainer) -> None:
    kind = registry.get(name)
    recipe: Recipe = kind.recipe_for("common", "digits", "grey")
    small = {**recipe.model_dump(), "evaluations": 2, "classifier": (24, 16), "generator": (16, 16)}
    fields = {key: value for key, value in small.items() if key in kind.recipe_type.model_fields and key != "steps"}
    traced, plain = (make_trainer(kind, (0, 1, 2), 12, **fields) for _ in range(2))
    traced.executor.trace_after = 2
    for trainer in (traced, plain):
        trainer.train()
    for network, net in plain.networks.items():
        assert torch.equal(net.flat, traced.networks[network].flat)
    assert traced.curves.logs == plain.curves.logs
    assert traced.curves.errors == plain.curves.errors
    repeated = list(traced.executor.stacked.values())
    assert any(entry.calls > 2 for entry in repeated)
    assert all((entry.current is not entry.function) == (entry.calls > 2) for entry in repeated)  # a phase may be short
    assert all(entry.current is entry.function for entry in plain.executor.stacked.values())


@pytest.mark.usefixtures("no_warning")
def test_buffers_change_once_per_step_when_the_loss_is_traced(toy: type[Any], make_trainer: MakeTrainer) -> None:
    traced, plain = make_trainer(toy, (0, 1)), make_trainer(toy, (0, 1))
    traced.executor.trace_after = 2
    for trainer in (traced, plain):
        trainer.train()
    before = make_trainer(toy, (0, 1)).networks["classifier"].buffers["norm.running_mean"]
    for name, value in plain.networks["classifier"].buffers.items():
        assert torch.equal(value, traced.networks["classifier"].buffers[name]), name
    assert not torch.equal(before, traced.networks["classifier"].buffers["norm.running_mean"])


# --- what is trusted ---


@pytest.mark.usefixtures("no_warning")
def test_a_function_is_written_out_after_so_many_calls() -> None:
    seen = []

    def double(x: Tensor) -> Tensor:
        seen.append(1)
        return 2 * x

    repeated = Repeated(double, 3, "double")
    for i in range(10):
        assert repeated(torch.full((4,), float(i))).tolist() == [2.0 * i] * 4
    assert len(seen) == 3 + 2  # three calls, then one for the result and one for the trace


def test_a_function_that_depends_on_something_else_is_never_replaced() -> None:
    calls = []

    def counted(x: Tensor) -> Tensor:
        calls.append(1)
        return x + len(calls)

    repeated = Repeated(counted, 1, "the count")
    repeated(torch.zeros(1))
    with pytest.warns(UserWarning, match="without tracing the count: traced, it gives other numbers"):
        assert repeated(torch.zeros(1)).item() == 2
    assert repeated.current is counted


def test_a_function_that_cannot_be_traced_goes_on_as_it_is() -> None:
    def read(x: Tensor) -> Tensor:
        return x * x.sum().item()

    repeated = Repeated(read, 0, "reading")
    with pytest.warns(UserWarning, match="without tracing reading"):
        assert repeated(torch.ones(2)).tolist() == [2.0, 2.0]
    assert repeated(torch.full((2,), 2.0)).tolist() == [8.0, 8.0]


def test_a_number_that_is_read_off_an_argument_is_noticed() -> None:
    def read(x: Tensor, progress: Tensor) -> Tensor:
        return x * torch.tensor([progress, 1.0])

    repeated = Repeated(read, 0, "reading")
    with pytest.warns(UserWarning, match="other numbers"):
        repeated(torch.ones(2), torch.tensor(0.3))
    assert repeated(torch.ones(2), torch.tensor(0.5)).tolist() == [0.5, 1.0]


def test_a_result_of_another_type_is_noticed() -> None:
    assert not tracing._equal(torch.ones(2), torch.ones(2, dtype=torch.int64))
    assert tracing._equal({"x": torch.ones(2)}, {"x": torch.ones(2)})


@pytest.mark.usefixtures("no_warning")
def test_numbers_that_are_none_count_as_equal() -> None:
    repeated = Repeated(lambda x: x / x, 0, "division")
    assert repeated(torch.zeros(2)).isnan().all()
    assert repeated.current is not repeated.function


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


@pytest.mark.parametrize("alike", [True, False])
def test_weight_gradients_are_computed_in_the_order_in_which_they_are_read(
    alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_may_turn", lambda product: alike)
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
