"""Optimisers of the players, on flat tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
        root = (square * correction).add_(group["eps"]).sqrt_()
        theta.addcdiv_(mean, root, value=-step_size)


class CapturableEpsInsideAdam(torch.optim.Adam):
    """The same by torch's fused kernel, which a captured step can contain and which reads and writes memory once.

    That kernel has no epsilon under its root, but v + eps (1 - beta2^t) in place of v is the same: divided by
    1 - beta2^t it is v^ + eps. It obeys v's own rule, v <- beta2 v + (1 - beta2) g^2, if eps (1 - beta2) / beta2 is
    added before each step.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, lr, betas, 0.0, fused=True, capturable=True)
        self.inside = eps

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            beta2 = group["betas"][1]
            for flat in group["params"]:
                state = self.state[flat]
                if not state:
                    state["step"] = torch.zeros((), device=flat.device)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(flat), torch.zeros_like(flat)
                state["exp_avg_sq"].add_(self.inside * (1 - beta2) / beta2)
        super().step()


def build(spec: Adam | SGD, flats: Sequence[Tensor], lr: float, capturable: bool = False) -> torch.optim.Optimizer:
    """The optimiser of one player over its networks' flat tensors.

    With `capturable` its learning rate is a tensor beside them, float32 as torch's fused kernels want it.
    """
    optimiser = _build(spec, flats, lr, capturable)
    if capturable:
        for group in optimiser.param_groups:
            group["lr"] = torch.full((), lr, dtype=torch.float32, device=flats[0].device)
        # or torch warns of the steps before the capture
        optimiser._warned_capturable_if_run_uncaptured = True
    return optimiser


def _build(spec: Adam | SGD, flats: Sequence[Tensor], lr: float, capturable: bool) -> torch.optim.Optimizer:
    if isinstance(spec, SGD):
        return torch.optim.SGD(flats, lr, momentum=spec.momentum, weight_decay=spec.weight_decay, fused=True)
    if spec.eps_inside:
        return (CapturableEpsInsideAdam if capturable else EpsInsideAdam)(flats, lr, spec.betas, spec.eps)
    return torch.optim.Adam(flats, lr, spec.betas, spec.eps, fused=True, capturable=capturable)


def set_rates(optimiser: torch.optim.Optimizer, player: Player, progress: float) -> None:
    """Puts what the player's schedules say where the next step reads it."""
    rate = player.lr * player.schedule(progress)
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
        if isinstance(player.optimiser, Adam):
            beta1 = player.optimiser.betas[0] if player.beta1 is None else player.beta1(progress)
            group["betas"] = (beta1, group["betas"][1])


def constants(optimiser: torch.optim.Optimizer) -> tuple[float, ...]:
    """What a captured step of it keeps of the numbers that `set_rates` sets: torch's fused Adam takes betas as numbers.

    A schedule of beta1 that moves in every step (that of Triple-GAN and EntMin: in some tenth of the training) thus
    runs uncaptured as long as it moves.
    """
    return tuple(beta for group in optimiser.param_groups for beta in group.get("betas", ()))
