"""Noise tapes: before a player's step each run's own generator fills what the step is going to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bench.variant import Noise

BLOCK = 16  # `normal_` draws in blocks of 16 and redraws a ragged end: only whole blocks leave earlier numbers alone


class Lengths(NamedTuple):
    normal: int
    uniform: int


class Tape(NamedTuple):
    normal: Tensor  # [runs, length]
    uniform: Tensor  # [runs, length]


class CountingNoise(Noise):
    """Zeros in place of noise; remembers how much was read."""

    def __init__(self, device: torch.device, read: list[int] | None = None, at: tuple[int, int] = (0, 0)) -> None:
        empty = torch.empty(0, device=device)
        super().__init__(empty, empty)
        self._at_normal, self._at_uniform = at
        self.read = [0, 0] if read is None else read

    def normal(self, *shape: int) -> Tensor:
        self._at_normal += math.prod(shape)
        self.read[0] = max(self.read[0], self._at_normal)
        return self._normal.new_zeros(shape)

    def uniform(self, *shape: int) -> Tensor:
        self._at_uniform += math.prod(shape)
        self.read[1] = max(self.read[1], self._at_uniform)
        return self._uniform.new_zeros(shape)

    def fork(self) -> CountingNoise:
        return CountingNoise(self._normal.device, self.read, (self._at_normal, self._at_uniform))


def measure(use: Callable[[Noise], object], device: torch.device) -> Lengths:
    """How much noise `use` reads, by one dry pass."""
    noise = CountingNoise(device)
    with torch.no_grad():
        use(noise)
    return Lengths(*(-(-n // BLOCK) * BLOCK for n in noise.read))


def record(generators: Sequence[torch.Generator], lengths: Lengths, device: torch.device) -> Tape:
    """A tape for every run, `[runs, length]`, each row from the run's own generator."""
    normal = torch.empty(len(generators), lengths.normal, device=device)
    uniform = torch.empty(len(generators), lengths.uniform, device=device)
    for i, generator in enumerate(generators):
        if lengths.normal:
            normal[i].normal_(generator=generator)
        if lengths.uniform:
            uniform[i].uniform_(generator=generator)
    return Tape(normal, uniform)
