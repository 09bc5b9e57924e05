"""The section of a device: its arithmetic on made-up times; measured on a CPU with tiny sizes, and on a GPU."""

from __future__ import annotations

import pytest
import torch

from bench import registry
from bench.datasets import Dataset
from bench.speed import device
from bench.speed.cases import synthetic_mnist
from bench.speed.device import Found, measure_variant, report, section, yardsticks
from bench.speed.every import Limits, Result, TooLongError, setup_of
from bench.speed.roofline import Cost
from bench.speed.rounds import CPU, Effort, Timings, measure
from bench.speed.setup import Setup

ONCE = Limits(Effort(1, 0.0), 60.0)


def found(cohort: float, perceptron: bool = True) -> Found:
    """The plain loop takes 10 ms; 1e12 operations and 1e11 bytes a second; 1 GFLOP and 20 MB: 1 ms and 0.2 ms."""
    seconds = {"plain loop": [0.01], "cohort of 40": [cohort], "square product": [1e-12], "copy": [1e-11]}
    return Found(Result("vmap", Timings(seconds, 1.0), 1.0, 40, 0.5), Cost(1e9, 2e7), perceptron)


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]


def test_share_of_the_bound_and_throughput() -> None:
    own = found(0.004)
    assert own.rates == pytest.approx((1e12, 1e11))
    assert own.share == pytest.approx(0.25)
    assert own.throughput.median == pytest.approx(2.5)


def test_rows_and_targets() -> None:
    text = section({"fm": found(0.0005), "triple": found(0.002, perceptron=False), "ugan": found(0.003)}, {}, "What.")
    _, fm, triple, ugan, _, *targets = cells(text)
    assert fm == [
        "fm", "10.000", "40", "0.500", "20.0 (20.0 to 20.0)", "1.00", "100", "1.000", "1.000", "20.0", "0.200", "200%",
    ]  # fmt: skip
    assert (triple[-1], ugan[-1]) == ("50%", "33%")
    assert targets == [
        ["`fm`, cohort of 40: run-steps per plain run-step", "at least 20", "20.0 (20.0 to 20.0)", "met"],
        ["`fm`, cohort of 40: share of the bound", "at least 50%", "200%", "met"],
        ["`triple`, cohort of 40: run-steps per plain run-step", "at least 5", "5.0 (5.0 to 5.0)", "met"],
        ["`ugan`, cohort of 40: share of the bound", "at least 50%", "33%", "missed"],
    ]


def test_yardsticks_count_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of side 8: 8^3 multiplications and additions. A copy of 1 KiB reads and writes it."""
    monkeypatch.setitem(device.SIDES, "cpu", 8)
    monkeypatch.setitem(device.COPIED, "cpu", 1024)
    found = yardsticks(CPU)
    assert {name: own.units for name, own in found.items()} == {"square product": 1024, "copy": 2048}
    assert min(measure(found, Effort(1, 0.0)).of(name).median for name in found) > 0


def test_measured_as_on_a_device(digits: Dataset) -> None:
    own = measure_variant(setup_of(registry.get("supervised"), "common", digits), ONCE, CPU, stacked=2)
    assert set(own.result.timings.seconds) == {
        "plain loop", "cohort of 1", "cohort of 2", "square product", "copy",
    }  # fmt: skip
    assert own.perceptron
    assert own.result.largest == 2
    assert 0 < own.share < 2
    assert own.cost.flops == 2 * 50 * (3 * 57_984 - 16_384)  # 50 images; the first layer gives them no gradient


def test_what_cannot_be_measured_is_said(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(setup: Setup, limits: Limits, device: torch.device) -> Found:
        if setup.variant.name == "fm":
            raise torch.OutOfMemoryError
        if setup.variant.name == "triple":
            raise TooLongError("a step takes 9.0 s")
        return found(0.001)

    monkeypatch.setattr(device, "measure_variant", measured)
    text = report(["fm", "triple", "belt", "ugan"], "common", digits, ONCE, CPU)
    assert "- `fm` is left out: out of memory with a cohort of 40." in text
    assert "- `triple` is left out: a step takes 9.0 s" in text
    assert "- `belt` is left out: variant 'belt' has no 'common' recipe" in text
    assert "Recipe `common` on images 1x8x8, 100 labels." in text
    assert [row[0] for row in cells(text)[1:2]] == ["ugan"]


@pytest.mark.cuda
def test_measured_on_a_gpu() -> None:
    cuda = torch.device("cuda")
    own = measure_variant(setup_of(registry.get("fm"), "paper", synthetic_mnist()), ONCE, cuda)
    assert own.result.executor == "vmap"
    assert own.result.largest == 40
    assert own.cost.flops == 3_759_300_000
    assert 0.01 < own.share < 1.5


@pytest.mark.cuda
def test_the_clock_waits_for_the_gpu() -> None:
    """A product of 8192 x 8192 takes longer than to ask for it: 1.1e12 operations, at most 1e15 a second."""
    cuda = torch.device("cuda")
    a = torch.randn(8192, 8192, device=cuda)
    timings = measure({"product": device.Alternative(lambda: a @ a)}, Effort(3, 0.0), cuda)
    assert timings.of("product").median > 1e-3
