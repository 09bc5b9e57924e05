"""Adam with epsilon inside the root against a loop in NumPy; the other kind against PyTorch's own."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch

from bench.training.optimiser import CHUNK, CapturableEpsInsideAdam, EpsInsideAdam, build
from bench.variant import SGD, Adam, Player

RNG = np.random.default_rng(0)


def adam_in_numpy(
    theta: np.ndarray, gradients: list[np.ndarray], lrs: list[float], betas: tuple[float, float], eps: float
) -> np.ndarray:
    m = v = np.zeros_like(theta)
    for t, (g, lr) in enumerate(zip(gradients, lrs, strict=True), start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        theta = theta - lr * (m / (1 - betas[0] ** t)) / np.sqrt(v / (1 - betas[1] ** t) + eps)
    return theta


def run(optimiser: torch.optim.Optimizer, flat: torch.Tensor, gradients: list[np.ndarray], lrs: list[float]) -> None:
    flat.grad = torch.zeros_like(flat)
    for g, lr in zip(gradients, lrs, strict=True):
        flat.grad.copy_(torch.from_numpy(g))
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.step()


@pytest.mark.parametrize("kind", [EpsInsideAdam, CapturableEpsInsideAdam])
@pytest.mark.parametrize("size", [7, CHUNK + 5])
@pytest.mark.parametrize(("betas", "eps"), [((0.5, 0.999), 1e-8), ((0.0, 0.9), 1e-2)])
def test_eps_inside_adam_equals_the_loop(
    size: int, betas: tuple[float, float], eps: float, kind: Callable[..., torch.optim.Optimizer]
) -> None:
    start = RNG.normal(size=size)
    gradients, lrs = [RNG.normal(size=size) for _ in range(6)], [0.1, 0.1, 0.1, 0.03, 0.03, 0.01]
    flat = torch.from_numpy(start.copy())
    run(kind([flat], 0.1, betas, eps), flat, gradients, lrs)
    np.testing.assert_allclose(flat.numpy(), adam_in_numpy(start, gradients, lrs, betas, eps), rtol=1e-10, atol=1e-12)


def test_where_epsilon_stands_shows_with_vanishing_gradients() -> None:
    """g = 1e-6 at every step: m = g, v = g^2; inside the root eps = 1e-8 acts like an additive 1e-4."""
    inside, outside = 1e-6 / np.sqrt(1e-12 + 1e-8), 1e-6 / (1e-6 + 1e-8)
    for eps_inside, capturable, step in ((True, False, inside), (True, True, inside), (False, False, outside)):
        flat = torch.zeros(64)
        optimiser = build(Adam(eps_inside=eps_inside), [flat], 1.0, capturable)
        run(optimiser, flat, [np.full(64, 1e-6)] * 3, [1.0] * 3)
        assert flat[0].item() == pytest.approx(-3 * step, rel=1e-4)


def test_both_kinds_agree_over_many_steps_of_single_precision() -> None:
    """Where gradients are as small as epsilon, and where they are large; the last elements never get any."""
    scales = np.repeat([1e-6, 1e-4, 1e-2, 1.0, 0.0], 64)
    gradients = [(RNG.normal(size=scales.size) * scales).astype(np.float32) for _ in range(300)]
    flats = [torch.zeros(scales.size) for _ in range(2)]
    for flat, capturable in zip(flats, (False, True), strict=True):
        run(build(Adam((0.5, 0.999), eps_inside=True), [flat], 0.01, capturable), flat, gradients, [0.01] * 300)
    assert flats[1].numpy() == pytest.approx(flats[0].numpy(), rel=1e-3, abs=1e-5)
    assert not flats[0][-64:].any()
    assert not flats[1][-64:].any()


def test_the_other_kind_is_the_librarys() -> None:
    start = torch.from_numpy(RNG.normal(size=64)).float()
    gradients = [RNG.normal(size=64).astype(np.float32) for _ in range(5)]
    ours, theirs = start.clone(), start.clone().requires_grad_()
    run(build(Adam((0.9, 0.99), 1e-3), [ours], 0.05), ours, gradients, [0.05] * 5)
    run(torch.optim.Adam([theirs], 0.05, (0.9, 0.99), 1e-3), theirs, gradients, [0.05] * 5)
    assert ours.numpy() == pytest.approx(theirs.detach().numpy(), rel=1e-5)


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("eps_inside", [True, False])
def test_state_is_saved_and_restored(eps_inside: bool, capturable: bool) -> None:
    gradients = [RNG.normal(size=64).astype(np.float32) for _ in range(6)]
    whole, parts = torch.ones(64), torch.ones(64)
    spec = Adam(eps_inside=eps_inside)
    run(build(spec, [whole], 0.1, capturable), whole, gradients, [0.1] * 6)
    first = build(spec, [parts], 0.1, capturable)
    run(first, parts, gradients[:3], [0.1] * 3)
    saved = copy.deepcopy(first.state_dict())
    second = build(spec, [parts], 0.1, capturable)
    second.load_state_dict(saved)
    run(second, parts, gradients[3:], [0.1] * 3)
    assert torch.equal(parts, whole)


def test_gradient_descent_equals_the_loop() -> None:
    start = RNG.normal(size=64).astype(np.float32)
    gradients, lrs = [RNG.normal(size=64).astype(np.float32) for _ in range(5)], [0.1, 0.1, 0.05, 0.05, 0.01]
    flat, theta, momentum = torch.from_numpy(start.copy()), start.astype(np.float64), np.zeros(64)
    run(build(SGD(0.9, 0.01), [flat], 0.1), flat, gradients, lrs)
    for g, lr in zip(gradients, lrs, strict=True):
        momentum = 0.9 * momentum + g + 0.01 * theta
        theta = theta - lr * momentum
    np.testing.assert_allclose(flat.numpy(), theta, rtol=1e-5, atol=1e-6)


def test_a_schedule_of_beta1_needs_adam() -> None:
    with pytest.raises(ValueError, match="beta1 is Adam's"):
        Player("c", ("c",), print, 0.1, SGD(), beta1=lambda progress: 0.9)
