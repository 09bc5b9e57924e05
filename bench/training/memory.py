"""What a cohort's state takes in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from bench.training.trainer import Trainer


def state_bytes(trainer: Trainer) -> int:
    """Weights, gradients, buffers, optimiser state and averages of a cohort that has taken a step."""
    parts: list[Any] = [[net.flat, net.gradient, net.buffers] for net in trainer.networks.values()]
    parts += [[average.flat, average.buffers] for average in trainer.averages.values()]
    parts += [list(optimiser.state.values()) for optimiser in trainer.optimisers.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors([parts, dict(trainer.state)]))


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(value)
