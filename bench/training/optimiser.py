"""Optimisers of the players, on flat tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bench.variant import SGD, Adam, Player

CHUNK = 2**17  # elements: five tensors of it stay in the processor's shared cache, and calls cost little beside them


class EpsInsideAdam(torch.optim.Optimizer):
    """Adam with epsilon under the square root: theta <- theta - lr m^ / sqrt(v^ + eps).

    As in the code of Salimans et al. (arXiv:1606.03498); with eps = 1e-8 it acts like an additive epsilon of 1e-4.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for flat in group["params"]:
                state = self.state[flat]
                if not state:
                    state.update(step=0, mean=torch.zeros_like(flat), square=torch.zeros_like(flat))
                state["step"] += 1
                _update(flat, flat.grad, state, group)


def _update(flat: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    beta1, beta2 = group["betas"]
    step_size = group["lr"] / (1 - beta1 ** state["step"])
    correction = 1 / (1 - beta2 ** state["step"])
    size = CHUNK if flat.device.type == "cpu" else flat.numel()
    pieces = (t.split(size) for t in (flat, gradient, state["mean"], state["square"]))
    for theta, g, mean, square in zip(*pieces, strict=True):
        mean.lerp_(g, 1 - beta1)
        square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        theta.addcdiv_(mean, (square * correction).add_(group["eps"]).sqrt_(), value=-step_size)


def build(spec: Adam | SGD, flats: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
    """The optimiser of one player over its networks' flat tensors."""
    if isinstance(spec, SGD):
        return torch.optim.SGD(list(flats), lr, momentum=spec.momentum, weight_decay=spec.weight_decay, fused=True)
    if spec.eps_inside:
        return EpsInsideAdam(flats, lr, spec.betas, spec.eps)
    return torch.optim.Adam(list(flats), lr=lr, betas=spec.betas, eps=spec.eps, fused=True)


def set_rates(optimiser: torch.optim.Optimizer, player: Player, progress: float) -> None:
    """Puts what the player's schedules say where the next step reads it."""
    for group in optimiser.param_groups:
        group["lr"] = player.lr * player.schedule(progress)
        if isinstance(player.optimiser, Adam):
            beta1 = player.optimiser.betas[0] if player.beta1 is None else player.beta1(progress)
            group["betas"] = (beta1, group["betas"][1])
