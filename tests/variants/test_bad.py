"""Bad GAN's terms against NumPy, its density phase and threshold, its phases and networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from bench.datasets import load, make_split
from bench.grid import task_of
from bench.training.trainer import Trainer
from bench.variant import Adam, Examples, Task
from variants.bad import Bad, BadRecipe, hinge, variational_entropy

K, PROGRESS = 3, torch.zeros(())
RNG = np.random.default_rng(0)
LABELS = np.array([2, 0])
SMALL: dict[str, Any] = {
    "steps": 1, "batch": 4, "classifier": (6, 5), "generator": (5, 4), "density_hidden": 8, "low_density_images": 6,
}  # fmt: skip


def t(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def score(x: np.ndarray) -> np.ndarray:
    return np.log(np.exp(x).sum(1))


@pytest.fixture
def batch(tiny_task: Task) -> dict[str, Any]:
    def images(n: int) -> Tensor:
        return t(RNG.random((n, *tiny_task.image_shape)))

    unlabelled = {name: images(4) for name in ("unlabelled", "unlabelled_generator", "density")}
    return {"labelled": Examples(images(2), t(LABELS)), **unlabelled}


@pytest.mark.parametrize("entropy_weight", [0.0, 0.1])
def test_discriminator_loss(
    entropy_weight: float, tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    """Two labelled, four unlabelled and four generated images."""
    everything = RNG.normal(size=(2 + 4 + 4, K), scale=2)
    images = torch.full((4, *tiny_task.image_shape), 0.5, dtype=torch.float64)
    nets = SimpleNamespace(discriminator=fake(t(everything)), generator=fake(images))
    recipe = BadRecipe(**SMALL, unsupervised_weight=2.0, entropy_weight=entropy_weight)
    loss, _ = Bad(tiny_task, recipe).discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    lab, unl, gen = np.split(everything, [2, 6])
    p = softmax(unl)
    supervised = -np.log(softmax(lab)[np.arange(2), LABELS]).mean()
    adversarial = 0.5 * softplus(-score(unl)).mean() + 0.5 * softplus(score(gen)).mean()
    h = -(p * np.log(p)).sum(1).mean()
    assert loss.item() == pytest.approx(supervised + 2 * adversarial + entropy_weight * h)


@pytest.mark.parametrize("matching", ["mean-square", "l1"])
@pytest.mark.parametrize(
    ("weight", "pull_away", "variational"),
    [(1.0, 0.0, 0.0), (1.0, 0.8, 0.0), (1.0, 0.0, 0.01), (2.5, 0.8, 0.01), (0.0, 0.8, 0.01)],
)
def test_generator_loss(
    matching: Any, weight: float, pull_away: float, variational: float, tiny_task: Task, batch: Any, fake: Any,
    recorded_noise: Callable[..., Any],
) -> None:  # fmt: skip
    real, false, code = RNG.normal(size=(4, 5)), RNG.normal(size=(4, 5)), RNG.normal(size=(4, 200))
    images = torch.full((4, *tiny_task.image_shape), 0.5, dtype=torch.float64)
    features = [t(real), t(false)] if weight else [t(false)]
    nets = SimpleNamespace(discriminator=fake(*features), generator=fake(images), encoder=fake(t(code)))
    recipe = BadRecipe(
        **SMALL, matching=matching, matching_weight=weight, pull_away_weight=pull_away, variational_weight=variational
    )
    noise = recorded_noise()
    loss, _ = Bad(tiny_task, recipe).generator_loss(nets, batch, noise, {}, PROGRESS)
    (z,) = noise.read
    difference = real.mean(0) - false.mean(0)
    expected = weight * ((difference**2).mean() if matching == "mean-square" else np.abs(difference).mean())
    unit = false / np.linalg.norm(false, axis=1, keepdims=True)
    cosines = (unit @ unit.T) ** 2
    expected += pull_away * (cosines.sum() - np.trace(cosines)) / 12
    mean, log_sigma = code[:, :100], code[:, 100:]
    expected += variational * (log_sigma + 0.5 * ((z - mean) / np.exp(log_sigma)) ** 2).sum(1).mean()
    assert loss.item() == pytest.approx(expected)


def test_a_generator_without_any_loss_is_refused() -> None:
    with pytest.raises(ValidationError, match="variational_weight are 0: the generator learns nothing"):
        BadRecipe(**SMALL, matching_weight=0.0)


def test_variational_entropy_moves_generator_and_encoder(
    tiny_task: Task, batch: Any, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    variant = Bad(tiny_task, BadRecipe(**SMALL, variational_weight=1.0))
    nets = build_nets(variant)
    variant.generator_loss(nets, batch, recorded_noise(), {}, PROGRESS)[0].backward()
    for network in (nets.generator, nets.encoder):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.module.parameters())
    (_, generator) = variant.phases()[1].players
    assert generator.networks == ("generator", "encoder")


def test_variational_entropy_is_least_at_the_true_posterior() -> None:
    z = t(RNG.random((50, 100)))
    exact = variational_entropy(z, z, torch.full_like(z, -1.0))
    assert exact.item() == pytest.approx(-100)
    assert variational_entropy(z, z + 0.5, torch.full_like(z, -1.0)) > exact


def test_hinge_counts_only_what_lies_above() -> None:
    log_p = torch.tensor([-10.0, -4.0, -2.0, -7.0])
    value, share = hinge(log_p, torch.tensor(-5.0))
    assert value.item() == pytest.approx((1 + 3) / 2)
    assert share.item() == pytest.approx(0.5)
    value, share = hinge(log_p, torch.tensor(0.0))
    assert (value.item(), share.item()) == (0, 0)


def test_low_density_adds_the_weighted_hinge_of_fresh_images(
    tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    real, false, log_p = RNG.normal(size=(4, 5)), RNG.normal(size=(4, 5)), RNG.normal(size=6)
    images = torch.full((4, *tiny_task.image_shape), 0.5, dtype=torch.float64)
    nets = SimpleNamespace(
        discriminator=fake(t(real), t(false)), generator=fake(images, images), density=fake(t(log_p))
    )
    recipe = BadRecipe(**SMALL, low_density_weight=0.2)
    state = {"tau": torch.tensor(-0.3, dtype=torch.float64)}
    loss, _ = Bad(tiny_task, recipe).low_density_loss(nets, batch, recorded_noise(), state, PROGRESS)
    above = log_p[log_p > -0.3] + 0.3
    assert loss.item() == pytest.approx(((real.mean(0) - false.mean(0)) ** 2).mean() + 0.2 * above.mean())
    assert nets.generator.calls[1][0].shape == (6, 100)


def test_the_threshold_follows_the_batches_quantiles(
    tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    variant = Bad(tiny_task, BadRecipe(**SMALL, low_density_quantile=0.25))
    state = {name: value.double() for name, value in variant.state().items()}
    quantiles = []
    for _ in range(3):
        log_p, held_out = RNG.normal(size=4), RNG.normal(size=2)
        nets = SimpleNamespace(density=fake(t(log_p), t(held_out)))
        loss, logs, state = variant.density_loss(nets, batch, recorded_noise(), state, PROGRESS)
        quantiles.append(np.sort(log_p)[1])
        assert loss.item() == pytest.approx(-log_p.mean())
        assert logs["held_out"].item() == pytest.approx(-held_out.mean())
        assert state["tau"].item() == pytest.approx(np.mean(quantiles))


def test_phases(mnist_task: Callable[[int], Task]) -> None:
    """The density first, then feature matching alone for 9000 of 1,198,000 steps, then with low density."""
    variant = Bad(mnist_task(100), Bad.recipes["paper"]["grey"])
    density, main, low = variant.phases()
    assert [p.name for p in density.players] == ["density"]
    assert variant.steps() == 2000 * 599
    assert main.share / (main.share + low.share) * 1_198_000 == pytest.approx(9000)
    discriminator, generator = low.players
    assert (discriminator.lr, discriminator.optimiser) == (3e-3, Adam((0.5, 0.9999)))
    assert (generator.lr, generator.optimiser) == (1e-3, Adam((0.0, 0.9999)))
    assert [discriminator.schedule(p) for p in (0.5, 0.66, 0.75, 1.0)] == pytest.approx([1, 1, 0.75, 0])
    without = Bad(mnist_task(100), Bad.recipes["paper"]["grey"].model_copy(update={"low_density_weight": 0.0}))
    assert [phase.name for phase in without.phases()] == ["main"]
    assert set(without.networks()) == {"discriminator", "generator"}


def test_networks_of_the_paper(mnist_task: Callable[[int], Task]) -> None:
    nets = {name: make() for name, make in Bad(mnist_task(100), Bad.recipes["paper"]["grey"]).networks().items()}
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    widths = [784, 1000, 500, 250, 250, 250, 10]
    d = sum(i * o + o for i, o in itertools.pairwise(widths)) + 10  # directions, biases, last scales
    g = 100 * 500 + 500 * 500 + 4 * 500 + 500 * 784 + 2 * 784
    density = 784 * 500 + 500 + 500 * 784 * 15 + 784 * 15
    assert counts == {"discriminator": d, "generator": g, "density": density}


def test_the_density_of_a_run_sees_no_labelled_image_and_gets_better() -> None:
    digits = load("digits", Path())
    recipe = Bad.recipes["common"]["digits"].model_copy(update={"low_density_weight": 1e-3, "evaluations": 20})
    variant = Bad(task_of(digits, 50, 0, None), recipe)
    assert variant.draws()["density"].pool == "unlabelled"
    trainer = Trainer(variant, digits, [make_split(digits, seed=0, budget=50, selection="balanced")], [0], 200,
                      torch.device("cpu"))  # fmt: skip
    while trainer.at < 40:  # the first fifth
        trainer.step()
        if trainer.at in (5, 40):
            trainer.evaluate()
    _, logs = trainer.curves.run(0)
    first, last = logs["density/held_out"]
    assert first is not None
    assert last is not None
    assert last < first - 5
    tau, nats = trainer.state["tau"].item(), logs["density/loss"][-1]
    assert nats is not None
    assert tau < -nats  # a low quantile lies below the mean
