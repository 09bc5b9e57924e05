"""Moving averages against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bench.training.ema import Average
from bench.training.storage import StackedNetwork
from bench.variant import Ema


class WithBuffers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("running", torch.full((2,), 4.0))
        self.register_buffer("count", torch.tensor(7))


@pytest.fixture
def network() -> StackedNetwork:
    with torch.device("meta"):
        template = WithBuffers()
    return StackedNetwork(template, [WithBuffers(), WithBuffers()], torch.device("cpu"))


def move(network: StackedNetwork, weight: float, running: float, count: int) -> None:
    network.parameters["weight"].fill_(weight)
    network.buffers["running"].fill_(running)
    network.buffers["count"].fill_(count)


def test_constant_weights_from_zero(network: StackedNetwork) -> None:
    """After t updates with the same weights the average is (1 - d^t) theta."""
    average = Average(Ema(0.9, start="zero"), network)
    assert average.parameters()["weight"].abs().max().item() == 0
    for t in range(1, 6):
        average.update()
        assert average.parameters()["weight"][0].tolist() == pytest.approx([1 - 0.9**t] * 3)


def test_debiasing_removes_the_zero_start(network: StackedNetwork) -> None:
    average = Average(Ema(0.9, start="zero", debias=True), network)
    values = [2.0, 5.0, -1.0]
    for value in values:
        move(network, value, 4.0, 7)
        average.update()
    weights = 0.1 * 0.9 ** np.arange(2, -1, -1)
    expected = (weights * values).sum() / weights.sum()
    assert average.parameters()["weight"].flatten().tolist() == pytest.approx([expected] * 6)


def test_start_at_the_weights_and_buffers_by_kind(network: StackedNetwork) -> None:
    """Float buffers are averaged from their values whatever the start; counters are copied."""
    for start, initial in (("weights", 1.0), ("zero", 0.0)):
        move(network, 1.0, 4.0, 7)
        average = Average(Ema(0.75, start=start), network)  # type: ignore[arg-type]
        for weight, running, count in ((3.0, 8.0, 8), (5.0, 0.0, 9)):
            move(network, weight, running, count)
            average.update()
        expected = 0.75 * (0.75 * initial + 0.25 * 3) + 0.25 * 5
        assert average.parameters()["weight"][1].tolist() == pytest.approx([expected] * 3)
        assert average.buffers["running"][0].tolist() == pytest.approx([0.75 * (0.75 * 4 + 0.25 * 8)] * 2)
        assert average.buffers["count"].tolist() == [9, 9]


def test_averaging_leaves_the_network_alone(network: StackedNetwork) -> None:
    average = Average(Ema(0.5), network)
    move(network, 3.0, 8.0, 8)
    average.update()
    assert network.parameters["weight"].unique().tolist() == [3.0]
    assert network.buffers["running"].unique().tolist() == [8.0]


def test_debiasing_needs_a_zero_start() -> None:
    with pytest.raises(ValueError, match="start='zero'"):
        Ema(0.9, start="weights", debias=True)
