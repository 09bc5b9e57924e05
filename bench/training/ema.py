"""Moving averages of weights for evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.training.counter import one_more
from bench.training.storage import StackedNetwork
from bench.variant import Ema


class Average:
    """The moving average of one network, all runs at once; batch-norm statistics and other float buffers included."""

    def __init__(self, spec: Ema, network: StackedNetwork, capturable: bool = False) -> None:
        self.spec, self.network = spec, network
        self.counts_on = network.flat.device if capturable else None
        self.flat = network.flat.clone() if spec.start == "weights" else torch.zeros_like(network.flat)
        self.buffers = {name: value.clone() for name, value in network.buffers.items()}
        self.updates: int | Tensor = 0

    @torch.no_grad()
    def update(self) -> None:
        self.updates = one_more(self.updates, self.counts_on)
        weight = 1 - self.spec.decay
        self.flat.lerp_(self.network.flat, weight)
        for name, value in self.network.buffers.items():
            if value.is_floating_point():
                self.buffers[name].lerp_(value, weight)
            else:
                self.buffers[name].copy_(value)

    def parameters(self) -> dict[str, Tensor]:
        """The averaged parameters, `[runs, *shape]` each."""
        if self.spec.debias and self.updates:
            return self.network.views(self.flat / (1 - self.spec.decay**self.updates))
        return self.network.views(self.flat)
