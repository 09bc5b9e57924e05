"""All that a run has come to, and whether two runs came to the same."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bench.conformance.problem import ConformanceError
from bench.training.trainer import Trainer

Snapshot = Mapping[str, Tensor]


def snapshot(trainer: Trainer, run: int) -> dict[str, Tensor]:
    """Copies of one run's `weights`, of its test logits and of its curve, by name."""
    found = {"logits": trainer.evaluator.logits(False)[run]}
    if trainer.averages:
        found["averaged logits"] = trainer.evaluator.logits(True)[run]
    return weights(trainer, run) | found | curve(trainer, run)


def weights(trainer: Trainer, run: int) -> dict[str, Tensor]:
    """Copies of one run's weights and buffers, raw and averaged, and of its state, by name."""
    found: dict[str, Tensor] = {}
    for name, net in trainer.networks.items():
        found |= {f"{name} {key}": value[run] for key, value in {**net.parameters, **net.buffers}.items()}
    for name, average in trainer.averages.items():
        tensors = {**average.parameters(), **average.buffers}
        found |= {f"averaged {name} {key}": value[run] for key, value in tensors.items()}
    found |= {f"state {name}": value[run] for name, value in trainer.state.items()}
    return {name: value.clone() for name, value in found.items()}


def curve(trainer: Trainer, run: int) -> dict[str, Tensor]:
    """One run's curve; a loss that was not in play counts as NaN."""
    errors, logs = trainer.curves.run(run)
    lists: dict[str, list[float | None]] = {f"test errors {k}": [*v] for k, v in errors.items()}
    lists |= {f"curve of {k}": v for k, v in logs.items()} | {"evaluated steps": [*trainer.curves.steps]}
    return {k: torch.tensor([float("nan") if x is None else x for x in v]) for k, v in lists.items()}


def differing(one: Snapshot, other: Snapshot) -> list[str]:
    """The names of whatever is not the same to the last bit."""
    return [name for name in {**one, **other} if _bits(one.get(name)) != _bits(other.get(name))]


def _bits(value: Tensor | None) -> tuple[torch.Size, bytes] | None:
    return None if value is None else (value.shape, value.contiguous().numpy().tobytes())


def require_same(one: Snapshot, other: Snapshot, what: str) -> None:
    """
    Raises:
        ConformanceError: something differs; the message names the first such thing.
    """
    if names := differing(one, other):
        first = names[0]
        size = ""
        if first in one and first in other and one[first].shape == other[first].shape:
            size = f" by up to {(one[first].double() - other[first].double()).abs().max().item():.2g}"
        raise ConformanceError(f"{what}: {first!r} differs{size} ({len(names)} of {len(one)} tensors differ)")
