"""Precision: what it switches, and what it leaves in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.conformance.cases import cases
from bench.execution.provenance import measurements
from bench.training.executor import LoopExecutor, VmapExecutor
from bench.training.precision import Precision
from bench.training.trainer import Trainer
from bench.variant import Draw

MakeTrainer = Callable[..., Trainer]
ALWAYS = {"fm", "triple"}


class OnCpu(Precision):
    """The autocast of a GPU, by a CPU."""

    def __post_init__(self) -> None: ...


BF16 = OnCpu("bf16")


def executor(networks: Any, stacked: bool, precision: Precision) -> VmapExecutor | LoopExecutor:
    return (VmapExecutor if stacked else LoopExecutor)(networks, math.inf, precision)


@pytest.mark.parametrize("name", ["tf32", "bf16"])
def test_a_cpu_computes_in_fp32(name: Any, toy: type[Any], make_trainer: MakeTrainer) -> None:
    with pytest.raises(ValueError, match=f"precision '{name}' needs a GPU"):
        make_trainer(toy, precision=name)


def test_an_unknown_precision() -> None:
    with pytest.raises(ValueError, match="'fp16' is none of fp32, tf32, bf16"):
        Precision("fp16", "cuda")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "expected"), [("fp32", False), ("tf32", True), ("bf16", False)])
@pytest.mark.parametrize("before", [False, True])
def test_tf32_is_on_where_it_is_asked_for(name: Any, expected: bool, before: bool) -> None:
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    own = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = before
        with Precision(name, "cuda").kernels():
            assert [switch.allow_tf32 for switch in switches] == [expected, expected]
        assert [switch.allow_tf32 for switch in switches] == [before, before]
    finally:
        for switch, value in zip(switches, own, strict=True):
            switch.allow_tf32 = value


def test_trainer_and_record_name_the_precision(toy: type[Any], make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(toy)
    assert trainer.precision.name == trainer.executor.precision.name == "fp32"
    assert measurements(torch.device("cpu"), "tf32")["precision"] == "tf32"


def test_all_of_training_and_of_evaluation_is_under_the_switch(
    toy: type[Any], make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    on: list[bool] = []

    @contextmanager
    def kernels(self: Precision) -> Iterator[None]:
        on.append(True)
        yield
        on.pop()

    class Watched(toy):  # type: ignore[misc, valid-type]
        def loss(self, *args: Any) -> Any:
            assert on
            return super().loss(*args)

        def classify(self, *args: Any) -> Tensor:
            assert on
            return super().classify(*args)

        def initial_draws(self) -> Any:
            return {"images": Draw(2, "all")}

        def initialise(self, *args: Any) -> None:
            assert on

    monkeypatch.setattr(Precision, "kernels", kernels)
    trainer = make_trainer(Watched, steps=2)
    trainer.train()
    trainer.evaluator.logits(averaged=False)
    assert not on


@pytest.mark.parametrize("stacked", [True, False])
def test_bf16_rounds_products_and_keeps_float32(stacked: bool, toy: type[Any], make_trainer: MakeTrainer) -> None:
    """bfloat16 has 8 significant bits: logits and losses differ by some thousandths, and by no more than that."""

    class Products(toy):  # type: ignore[misc, valid-type]
        """Logits and a log that are products, and so bfloat16 where they are made."""

        def loss(self, nets: Any, *others: Any) -> Any:
            loss, logs = super().loss(nets, *others)
            weight = nets.other.tensors["linear.weight"]
            return loss, {**logs, "product": (weight @ weight.T)[0, 0]}

        def classify(self, nets: Any, images: Tensor) -> Tensor:
            return super().classify(nets, images) @ torch.eye(10)

    exact, rounded = make_trainer(Products, (0, 1), steps=1), make_trainer(Products, (0, 1), steps=1)
    exact.executor = exact.evaluator.executor = executor(exact.networks, stacked, Precision())
    rounded.executor = rounded.evaluator.executor = executor(rounded.networks, stacked, BF16)
    logits = [trainer.evaluator.logits(averaged=False) for trainer in (exact, rounded)]
    for trainer in (exact, rounded):
        trainer.step()
    assert logits[1].dtype == torch.float32
    _rounded_alike(logits[1], logits[0])
    for name, total in exact.logs.totals.items():
        assert rounded.logs.totals[name].dtype == torch.float32
        assert rounded.logs.totals[name].tolist() == pytest.approx(total.tolist(), rel=0.02), name
    net = rounded.networks["classifier"]
    assert {net.flat.dtype, net.gradient.dtype, *(b.dtype for b in net.buffers.values())} == {torch.float32}
    _rounded_alike(net.gradient, exact.networks["classifier"].gradient)


def _rounded_alike(rounded: Tensor, exact: Tensor) -> None:
    worst = ((rounded - exact).abs().max() / exact.abs().max()).item()
    assert 1e-5 < worst < 0.05


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in registry.names()]
)
def test_bf16_trains_every_variant(name: str) -> None:
    for case in cases(registry.get(name)):
        trainer = case.trainer(case.seeds, 4, executor=lambda networks: VmapExecutor(networks, math.inf, BF16))
        trainer.train()
        assert trainer.diverged_at.tolist() == [-1] * len(case.seeds)
        assert all(net.flat.dtype == net.gradient.dtype == torch.float32 for net in trainer.networks.values())
