"""A function written out: the same bits with fewer operations, and no trust in functions that cannot be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.training import tracing
from bench.training.executor import LoopExecutor, VmapExecutor
from bench.training.tracing import Repeated
from bench.training.trainer import Trainer
from bench.variant import Recipe

ATEN = torch.ops.aten
MakeTrainer = Callable[..., Trainer]


# --- the trainer ---

NAMES = [name for name in registry.names() if name != "belt"]  # which has no grey images
EVERY_TIME = {"supervised", "fm"}


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("executor", [VmapExecutor, LoopExecutor])
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in EVERY_TIME else pytest.mark.slow) for n in NAMES])
def test_a_traced_training_has_the_bits_of_an_untraced_one(
    name: str, executor: Callable[..., Any], make_trainer: MakeTrainer
) -> None:
    kind = registry.get(name)
    recipe: Recipe = kind.recipe_for("common", "digits", "grey")
    small = {**recipe.model_dump(), "evaluations": 2, "classifier": (24, 16), "generator": (16, 16)}
    fields = {key: value for key, value in small.items() if key in kind.recipe_type.model_fields and key != "steps"}
    traced, plain = (make_trainer(kind, (0, 1, 2), 12, **fields) for _ in range(2))
    for trainer in (traced, plain):
        trainer.executor = executor(trainer.networks)
    traced.executor.repeated.trace_after = 2
    for trainer in (traced, plain):
        trainer.train()
    for network, net in plain.networks.items():
        assert torch.equal(net.flat, traced.networks[network].flat)
    assert traced.curves.logs == plain.curves.logs
    assert traced.curves.errors == plain.curves.errors
    repeated = list(traced.executor.repeated.known.values())
    assert any(entry.calls > 2 for entry in repeated)
    assert all((entry.current is not entry.function) == (entry.calls > 2) for entry in repeated)  # a phase may be short
    assert all(entry.current is entry.function for entry in plain.executor.repeated.known.values())


@pytest.mark.usefixtures("no_warning")
def test_buffers_change_once_per_step_when_the_loss_is_traced(toy: type[Any], make_trainer: MakeTrainer) -> None:
    traced, plain = make_trainer(toy, (0, 1)), make_trainer(toy, (0, 1))
    traced.executor.repeated.trace_after = 2
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
        return x * 2 if x.sum().item() > 0 else x * 3

    repeated = Repeated(read, 0, "reading")
    with pytest.warns(UserWarning, match="without tracing reading"):
        assert repeated(torch.ones(2)).tolist() == [2.0, 2.0]
    assert repeated(-torch.ones(2)).tolist() == [-3.0, -3.0]


def test_a_number_that_is_read_off_an_argument_is_noticed() -> None:
    def read(x: Tensor, progress: Tensor) -> Tensor:
        return x * torch.tensor([progress, 1.0])

    repeated = Repeated(read, 0, "reading")
    with pytest.warns(UserWarning, match="without tracing reading"):
        repeated(torch.ones(2), torch.tensor(0.3))
    assert repeated(torch.ones(2), torch.tensor(0.5)).tolist() == [0.5, 1.0]


CONSTANT = torch.arange(16.0).view(4, 4) / 16


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x @ CONSTANT).sum(0),
        lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0]),
        lambda x: torch._foreach_add([x, x @ x], 1.0)[1] * 2,
        lambda x: x * x.sum().item(),
        lambda x: x.split([1, 3])[1] * torch.stack(x.unbind(1)).sum(),
    ],
    ids=["a tensor of its own", "numbers of its own", "a new list", "a number of an argument", "a list of views"],
)
def test_losses_may_use_constants_numbers_and_lists(function: Callable[..., Any]) -> None:
    repeated = Repeated(function, 0, "use")
    for _ in range(3):
        x = torch.randn(4, 4)
        assert torch.equal(repeated(x), function(x))
    assert repeated.current is not function


def test_a_result_of_another_type_is_noticed() -> None:
    assert not tracing._equal(torch.ones(2), torch.ones(2, dtype=torch.int64))
    assert tracing._equal({"x": torch.ones(2)}, {"x": torch.ones(2)})


@pytest.mark.usefixtures("no_warning")
def test_numbers_that_are_none_count_as_equal() -> None:
    repeated = Repeated(lambda x: x / x, 0, "division")
    assert repeated(torch.zeros(2)).isnan().all()
    assert repeated.current is not repeated.function
