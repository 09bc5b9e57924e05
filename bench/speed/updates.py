"""What moves weights in a loop written by hand: torch's own optimisers where it has them, averages, all by lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.variant import SGD, Adam, Ema


def optimiser(spec: Adam | SGD, weights: Sequence[Tensor], lr: float) -> Any:
    """Fused, but for the Adam with epsilon under the square root, which torch has not."""
    if isinstance(spec, SGD):
        return torch.optim.SGD(weights, lr, momentum=spec.momentum, weight_decay=spec.weight_decay, fused=True)
    if spec.eps_inside:
        return EpsInsideAdam(weights, lr, spec.betas, spec.eps)
    return torch.optim.Adam(weights, lr=lr, betas=spec.betas, eps=spec.eps, fused=True)


class EpsInsideAdam:
    """Adam with epsilon under the square root.

    On a CPU parameter by parameter, so that what one operation writes is in the cache for the next; elsewhere all at
    once, in few calls.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float, betas: tuple[float, float], eps: float = 1e-8) -> None:
        self.param_groups: list[dict[str, Any]] = [{"lr": lr, "betas": betas}]  # as torch's optimisers have them
        self.weights, self.eps, self.steps = list(weights), eps, 0
        self.means = [torch.zeros_like(w) for w in self.weights]
        self.squares = [torch.zeros_like(w) for w in self.weights]

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        (beta1, beta2), lr = self.param_groups[0]["betas"], self.param_groups[0]["lr"]
        size, correction = lr / (1 - beta1**self.steps), 1 / (1 - beta2**self.steps)
        found = zip(self.weights, self.means, self.squares, strict=True)
        rows = [(w, w.grad, mean, square) for w, mean, square in found if w.grad is not None]
        for part in [[row] for row in rows] if self.weights[0].device.type == "cpu" else [rows]:
            weights, gradients, means, squares = (list(column) for column in zip(*part, strict=True))
            torch._foreach_lerp_(means, gradients, 1 - beta1)
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
            roots = torch._foreach_mul(squares, correction)
            torch._foreach_add_(roots, self.eps)
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(weights, means, roots, -size)

    def zero_grad(self) -> None:
        for weight in self.weights:
            weight.grad = None


class Average:
    """Moving average of a network, floating point buffers included."""

    def __init__(self, spec: Ema, network: nn.Module) -> None:
        weights = list(network.parameters())
        buffers = [b for b in network.buffers() if b.is_floating_point()]
        self.live, self.decay, self.start = [*weights, *buffers], spec.decay, spec.start
        start = torch.clone if spec.start == "weights" else torch.zeros_like
        self.values = [*(start(w.detach()) for w in weights), *(b.clone() for b in buffers)]

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(self.values, self.live, 1 - self.decay)


class History:
    """Pulls weights towards their mean so far (Salimans et al., arXiv:1606.03498, section 3.3)."""

    def __init__(self, weight: float, weights: Sequence[Tensor]) -> None:
        self.weight, self.live, self.count = weight, list(weights), 1
        self.means = [w.detach().clone() for w in self.live]

    @torch.no_grad()
    def pull(self) -> None:
        """Adds the gradient of `weight |theta - mean|^2`."""
        for live, mean in zip(self.live, self.means, strict=True):
            if live.grad is not None:
                live.grad.add_(live - mean, alpha=2 * self.weight)

    @torch.no_grad()
    def update(self) -> None:
        self.count += 1
        torch._foreach_lerp_(self.means, self.live, 1 / self.count)
