"""Losses and logs of the steps since the last evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor


class Sums:
    """Sums `[runs]` by name, which keep their places in memory, and how many values each of them holds."""

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}
        self.counts: Counter[str] = Counter()

    def add(self, values: Mapping[str, Tensor]) -> list[str]:
        """Adds values `[runs]` on their device; the names are for `count`."""
        for name, value in values.items():
            if name not in self.totals:
                self.totals[name] = _nothing(value)
            self.totals[name].add_(value)
        return list(values)

    def count(self, names: Iterable[str]) -> None:
        """Notes what has been added."""
        self.counts.update(names)

    def current(self) -> dict[str, Tensor]:
        """The sums since the last `reset`; without those that nothing was added to."""
        return {name: self.totals[name] for name in self.counts}

    def means(self) -> dict[str, list[float]]:
        """Per run, by name."""
        return {name: (value / self.counts[name]).tolist() for name, value in self.current().items()}

    def reset(self) -> None:
        self.counts.clear()
        for value in self.totals.values():
            value.fill_(-0.0)

    def load(self, rows: Mapping[str, Sequence[Tensor]], counts: Mapping[str, int], device: torch.device) -> None:
        """Goes on from what each run had in `current`."""
        self.reset()
        self.totals |= {name: torch.stack(list(own)).to(device) for name, own in rows.items()}
        self.counts.update(counts)


def _nothing(value: Tensor) -> Tensor:
    """What `value` can be added to without any change: of the two zeros only this one keeps the sign of the other."""
    return torch.full_like(value, -0.0)
