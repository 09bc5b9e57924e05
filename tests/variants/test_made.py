"""The density model: its probabilities sum to one, each variable sees only those before it, and it learns structure."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.variant import Task
from variants.parts.networks.made import MADE


def task(*shape: int, bounded: bool = True) -> Task:
    return Task(shape, 3, (0.0, 1.0) if bounded else None, 10, 100)


@pytest.fixture
def scrambled() -> MADE:
    torch.manual_seed(0)
    model = MADE(task(1, 2, 2), hidden=16, mixtures=3, levels=4).double()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value))
    return model


def test_probabilities_of_all_images_sum_to_one(scrambled: MADE) -> None:
    images = torch.tensor(list(itertools.product([0, 0.25, 0.5, 0.75, 1], repeat=4)), dtype=torch.float64)
    assert scrambled(images.view(-1, 1, 2, 2)).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_a_density_of_points_integrates_to_one() -> None:
    torch.manual_seed(0)
    model = MADE(task(2, bounded=False), hidden=16, mixtures=3, levels=255).double()
    axis = torch.linspace(-40, 40, 1200, dtype=torch.float64)
    volume = model(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert volume.item() == pytest.approx(1, abs=1e-6)


def test_each_variable_sees_only_those_before_it(scrambled: MADE) -> None:
    def outputs(x: Tensor) -> Tensor:  # [9 numbers, 4 variables]
        return scrambled.last(torch.tanh(scrambled.first(x))).view(9, 4)

    jacobian = torch.autograd.functional.jacobian(outputs, torch.rand(4, dtype=torch.float64))
    seen = jacobian.abs().sum(0) > 0  # [variable, by variable]
    assert torch.equal(seen, torch.ones(4, 4).tril(-1).bool())


def test_logistic_bins_equal_the_difference_of_two_sigmoids() -> None:
    model = MADE(task(1, 1, 1), hidden=1, mixtures=1, levels=4).double()
    x, mean, log_scale = torch.tensor([0.5, 0.1, -0.7], dtype=torch.float64)
    sigmoid = lambda t: 1 / (1 + np.exp(-t))  # noqa: E731
    expected = sigmoid((0.5 - 0.1 + 0.25) / np.exp(-0.7)) - sigmoid((0.5 - 0.1 - 0.25) / np.exp(-0.7))
    assert model._logistic(x, mean, log_scale).exp().item() == pytest.approx(expected, rel=1e-9)
