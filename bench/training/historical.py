"""Historical averaging (Salimans et al., arXiv:1606.03498, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.training.counter import one_more
from bench.training.storage import StackedNetwork


class History:
    """The mean of one network's weights since the start, and the gradient of `weight |theta - mean|^2`.

    All runs at once. The mean counts as a constant, and holds the initial weights and those after every update.
    """

    def __init__(self, weight: float, network: StackedNetwork, capturable: bool = False) -> None:
        self.weight, self.network = weight, network
        self.counts_on = network.flat.device if capturable else None
        self.mean: Tensor = network.flat.clone()
        self.count: int | Tensor = 1

    @torch.no_grad()
    def pull(self) -> None:
        """Adds the gradient to that of the network."""
        self.network.gradient.add_(self.network.flat - self.mean, alpha=2 * self.weight)

    @torch.no_grad()
    def update(self) -> None:
        self.count = one_more(self.count, self.counts_on)
        share = 1 / self.count
        self.mean.lerp_(self.network.flat, share.to(self.mean.dtype) if isinstance(share, Tensor) else share)
