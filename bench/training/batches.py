"""What each step draws from the training set: index blocks per run, made ahead of time and moved to the device once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.datasets import Dataset, Split
from bench.errors import UsageError
from bench.streams import torch_generator
from bench.variant import Draw, Examples

BLOCK = 64  # steps per block of indices


class Sampler:
    """Endless positions into a pool of `pool` images, in the order of a draw."""

    def __init__(self, draw: Draw, pool: int, generator: torch.Generator) -> None:
        self.draw, self.pool, self.generator = draw, pool, generator
        self.permutation = torch.empty(0, dtype=torch.int64)
        self.at = 0

    def take(self, steps: int) -> Tensor:
        """Positions `[steps, size]`."""
        if self.draw.order == "all":
            return torch.arange(self.pool).expand(steps, -1)
        if self.draw.order == "replacement":
            return torch.randint(self.pool, (steps, self.draw.size), generator=self.generator)
        if self.draw.order == "epoch" and self.draw.size <= self.pool:
            return self._whole_batches(steps)
        return self._contiguous(steps * self.draw.size).view(steps, self.draw.size)

    def _contiguous(self, count: int) -> Tensor:
        """The next positions, permutation after permutation."""
        pieces = []
        while count:
            if self.at == len(self.permutation):
                self._shuffle()
            piece = self.permutation[self.at : self.at + count]
            self.at += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return torch.cat(pieces)

    def _whole_batches(self, steps: int) -> Tensor:
        """The next batches, none of which crosses the end of a permutation."""
        pieces, size = [], self.draw.size
        while steps:
            if len(self.permutation) - self.at < size:
                self._shuffle()
            batches = min(steps, (len(self.permutation) - self.at) // size)
            pieces.append(self.permutation[self.at : self.at + batches * size].view(batches, size))
            self.at += batches * size
            steps -= batches
        return torch.cat(pieces)

    def _shuffle(self) -> None:
        self.permutation = torch.randperm(self.pool, generator=self.generator)
        self.at = 0

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "permutation": self.permutation.clone(), "at": self.at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.permutation, self.at = state["permutation"].clone(), state["at"]


class Batches:
    """The batches of a cohort: for each draw images `[runs, size, *image_shape]`, or `Examples` where labelled.

    Labels are read through each run's `LabelledSet`, which counts them and refuses any other.
    """

    def __init__(
        self,
        draws: Mapping[str, Draw],
        dataset: Dataset,
        splits: Sequence[Split],
        seeds: Sequence[int],
        device: torch.device,
        images: Tensor,
    ) -> None:
        self.draws, self.dataset, self.splits, self.device, self.images = draws, dataset, splits, device, images
        self.pools = {name: [_pool(draw, name, split) for split in splits] for name, draw in draws.items()}
        self.samplers = {
            name: [
                Sampler(draw, len(pool), torch_generator("cpu", seed, "batches", name))
                for pool, seed in zip(self.pools[name], seeds, strict=True)
            ]
            for name, draw in draws.items()
        }
        self.block: dict[str, Tensor] = {}  # by draw: indices (and labels) of the next steps, [steps, runs, size]
        self.rows: dict[str, Tensor] = {}  # those of this step, [runs, size]
        self.at = self.length = 0

    def next(self, remaining: int) -> dict[str, Any]:
        """The next step's batch; `remaining` (steps of the run, this one included) bounds what is drawn ahead."""
        self.advance(remaining)
        return self.gather()

    def advance(self, remaining: int) -> None:
        """The host's part of `next`: puts the step's indices and labels where the device's part reads them."""
        if self.at == self.length:
            self._draw_block(min(BLOCK, remaining))
        for name, value in self.block.items():
            if name in self.rows:
                self.rows[name].copy_(value[self.at])
            else:
                self.rows[name] = value[self.at].clone()
        self.at += 1

    def gather(self) -> dict[str, Any]:
        """The device's part of `next`."""
        batch: dict[str, Any] = {}
        for name, draw in self.draws.items():
            images = self.dataset.scale(self._taken(self.rows[name]))
            # a copy: the labels' place holds those of the next step soon
            batch[name] = Examples(images, self.rows[name + "/labels"].clone()) if draw.pool == "labelled" else images
        return batch

    def _taken(self, index: Tensor) -> Tensor:
        """Images `[runs, size, *image_shape]`; `index_select` copies whole images, plain indexing their elements."""
        return self.images.index_select(0, index.flatten()).view(*index.shape, *self.images.shape[1:])

    def _draw_block(self, steps: int) -> None:
        block: dict[str, list[Tensor]] = {}
        for name, draw in self.draws.items():
            for run, sampler in enumerate(self.samplers[name]):
                positions = sampler.take(steps).numpy()
                block.setdefault(name, []).append(torch.from_numpy(self.pools[name][run][positions]))
                if draw.pool == "labelled":
                    labels = self.splits[run].labelled.read(positions)
                    block.setdefault(name + "/labels", []).append(torch.from_numpy(labels))
        self.block = {name: self._moved(torch.stack(parts, 1)) for name, parts in block.items()}  # [steps, runs, size]
        self.at, self.length = 0, steps

    def _moved(self, block: Tensor) -> Tensor:
        """On the device, without waiting for it."""
        return block.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else block

    def run_state(self, run: int) -> dict[str, Any]:
        """Where one run is in its draws, and its share of what has been drawn ahead."""
        samplers = {name: runs[run].state_dict() for name, runs in self.samplers.items()}
        block = {name: value[:, run].clone() for name, value in self.block.items()}
        return {"samplers": samplers, "block": block, "at": self.at, "length": self.length}

    def load_run_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Goes on where the states were taken: one of each run, after the same step."""
        for name, runs in self.samplers.items():
            for sampler, state in zip(runs, states, strict=True):
                sampler.load_state_dict(state["samplers"][name])
        self.block = {
            name: torch.stack([state["block"][name] for state in states], 1).to(self.device)
            for name in states[0]["block"]
        }
        self.at, self.length = states[0]["at"], states[0]["length"]


def _pool(draw: Draw, name: str, split: Split) -> np.ndarray:
    """The images that a draw may take: indices into the training set."""
    labelled, unlabelled = split.labelled.indices, split.unlabelled
    pool = {"labelled": labelled, "unlabelled": unlabelled, "all": np.sort(np.concatenate([labelled, unlabelled]))}
    if len(pool[draw.pool]) == 0:
        raise UsageError(
            f"the draw {name!r} has no image to draw from: the labelled set takes all of the training set. "
            "Lower --labels, or use a recipe whose unlabelled pool contains the labelled images."
        )
    return pool[draw.pool]
