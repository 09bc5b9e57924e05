"""Minibatches as loops written by hand draw them: a permutation on the device, cut into batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.datasets import Split
from bench.variant import Draw


class Pool(NamedTuple):
    """What a draw takes from."""

    indices: Tensor  # [n], into the training images
    labels: Tensor | None  # [n], where it is the labelled set


def pool_of(draw: Draw, split: Split, device: torch.device) -> Pool:
    labelled, unlabelled = split.labelled.indices, split.unlabelled
    if draw.pool == "labelled":
        labels = split.labelled.read(np.arange(len(labelled)))
        return Pool(torch.from_numpy(labelled.copy()).to(device), torch.from_numpy(labels).to(device))
    indices = unlabelled if draw.pool == "unlabelled" else np.concatenate([labelled, unlabelled])
    return Pool(torch.from_numpy(indices.copy()).to(device), None)


class Minibatches:
    """Endless positions in a pool, in the order of a draw (see `bench.variant.Draw`)."""

    def __init__(self, draw: Draw, pool: Pool) -> None:
        self.draw, self.pool, self.n, self.at = draw, pool, len(pool.indices), 0
        self.device = pool.indices.device
        self.permutation = torch.empty(0, dtype=torch.int64, device=self.device)

    def next(self) -> Tensor:
        """Positions `[size]`."""
        size, order = self.draw.size, self.draw.order
        if order == "all":
            return torch.arange(self.n, device=self.device)
        if order == "replacement":
            return torch.randint(self.n, (size,), device=self.device)
        drops = order == "epoch" and size <= self.n  # the ragged end of a permutation
        while len(self.permutation) - self.at < size:
            rest = self.permutation[len(self.permutation) if drops else self.at :]
            self.permutation, self.at = torch.cat([rest, torch.randperm(self.n, device=self.device)]), 0
        self.at += size
        return self.permutation[self.at - size : self.at]


class Batch(dict[str, Any]):
    """A step's draws by name; each is made when it is first asked for."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, name: str) -> Any:
        self[name] = self.make(name)
        return self[name]
