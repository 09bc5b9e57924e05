"""Small tasks, noise and networks for the tests of the variants."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.variant import Noise, Task


class FakeNetwork:
    """A network that answers its calls with given values, in order, and remembers what it was called with."""

    def __init__(self, *answers: Any, **tensors: Tensor) -> None:
        self.answers, self.calls, self.options = list(answers), [], []
        self.tensors = {name.replace("__", "."): value for name, value in tensors.items()}

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        self.calls.append(inputs)
        self.options.append(options)
        answer = self.answers[len(self.calls) - 1]
        return answer(*inputs) if callable(answer) else answer


class RealNetwork:
    """A module as a loss sees it: callable, with its parameters and buffers in `tensors`."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.tensors = dict(module.named_parameters()) | dict(module.named_buffers())

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        return self.module(*inputs, **options)


class RecordedNoise(Noise):
    """Noise from a NumPy generator, in float64; `read` holds every piece in the order in which it was handed out."""

    def __init__(self, seed: int = 0, length: int = 200_000) -> None:
        rng = np.random.default_rng(seed)
        super().__init__(torch.from_numpy(rng.normal(size=length)), torch.from_numpy(rng.random(length)))
        self.read: list[np.ndarray] = []

    def normal(self, *shape: int) -> Tensor:
        piece = super().normal(*shape)
        self.read.append(piece.numpy())
        return piece

    def uniform(self, *shape: int) -> Tensor:
        piece = super().uniform(*shape)
        self.read.append(piece.numpy())
        return piece


@pytest.fixture(scope="session")
def mnist_task() -> Callable[[int], Task]:
    """MNIST as a variant sees it, by label budget."""
    return lambda labels: Task((1, 28, 28), 10, (0.0, 1.0), labels, 60_000 - labels)


@pytest.fixture(scope="session")
def tiny_task() -> Task:
    return Task((1, 2, 3), 3, (0.0, 1.0), 6, 30)


@pytest.fixture
def fake() -> type[FakeNetwork]:
    return FakeNetwork


@pytest.fixture
def recorded_noise() -> Callable[..., RecordedNoise]:
    return RecordedNoise


@pytest.fixture
def build_nets() -> Callable[..., SimpleNamespace]:
    """All networks of a variant in float64, with every parameter and scale moved off its initial value."""

    def build(variant: Any, seed: int = 0) -> SimpleNamespace:
        torch.manual_seed(seed)
        nets = {}
        for name, make in variant.networks().items():
            module = make().double()
            with torch.no_grad():
                for value in (*module.parameters(), *module.buffers()):
                    value.add_(0.3 * torch.rand_like(value))
            nets[name] = RealNetwork(module)
        return SimpleNamespace(**nets)

    return build
