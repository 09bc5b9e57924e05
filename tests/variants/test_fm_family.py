"""ct, manifold, rf and cat: what they add to FM-GAN, against a second derivation in NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.variant import Examples, Noise, Task
from variants.belt import Belt, BeltRecipe
from variants.cat import Cat, CatRecipe
from variants.ct import CT, CTRecipe
from variants.fm import FM
from variants.manifold import Manifold, ManifoldRecipe
from variants.parts import losses
from variants.parts.layers import Mirrored
from variants.parts.networks.mlp import neighbours
from variants.rf import RF, RFRecipe

BATCH, K, PROGRESS = 4, 3, torch.zeros(())
RNG = np.random.default_rng(0)
LABELS = np.array([2, 0, 1, 1])
SMALL: dict[str, Any] = {"steps": 1, "batch": BATCH, "classifier": (6, 5), "generator": (5, 4)}


def t(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    return -np.log(softmax(logits)[np.arange(len(labels)), labels]).mean()


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def score(logits: np.ndarray) -> np.ndarray:
    return np.log(np.exp(logits).sum(1))


def logits(rows: int = BATCH, outputs: int = K) -> np.ndarray:
    return RNG.normal(size=(rows, outputs), scale=2)


@pytest.fixture
def batch(tiny_task: Task) -> dict[str, Any]:
    images = [t(RNG.random((BATCH, *tiny_task.image_shape))) for _ in range(3)]
    return {
        "labelled": Examples(images[0], t(LABELS)),
        "unlabelled": images[1],
        "unlabelled_generator": images[2],
    }


@pytest.fixture
def images(tiny_task: Task) -> Tensor:
    return torch.full((BATCH, *tiny_task.image_shape), 0.25, dtype=torch.float64)


# --- ct ---


@pytest.mark.parametrize("feature_weight", [0.0, 2.0])
def test_ct_adds_half_the_consistency(
    feature_weight: float, tiny_task: Task, batch: Any, images: Tensor, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    everything, one, two = logits(3 * BATCH), logits(), logits()
    f1, f2 = logits(BATCH, 5), logits(BATCH, 5)
    nets = SimpleNamespace(discriminator=fake(t(everything), t(f1), t(f2), t(one), t(two)), generator=fake(images))
    fields = {"unsupervised_weight": 3.0, "consistency": 0.7, "feature_consistency": feature_weight}
    loss, logs = CT(tiny_task, CTRecipe(**SMALL, **fields)).discriminator_loss(
        nets, batch, recorded_noise(), {}, PROGRESS
    )
    plain = SimpleNamespace(discriminator=fake(t(everything)), generator=fake(images))
    base, _ = FM(tiny_task, CTRecipe(**SMALL, **fields)).discriminator_loss(
        plain, batch, recorded_noise(), {}, PROGRESS
    )
    term = 0.7 * ((softmax(one) - softmax(two)) ** 2).mean() + feature_weight * ((f1 - f2) ** 2).mean()
    assert loss.item() == pytest.approx(base.item() + 0.5 * 3.0 * term)
    assert logs["consistency"].item() == pytest.approx(term)
    assert torch.equal(nets.discriminator.calls[1][0], batch["unlabelled"])
    assert torch.equal(nets.discriminator.calls[2][0], batch["unlabelled"])


def test_the_two_answers_of_ct_have_noise_of_their_own(
    tiny_task: Task, batch: Any, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    def consistency(**noise: float) -> float:
        variant = CT(tiny_task, CTRecipe(**SMALL, **noise))
        nets = build_nets(variant)
        return variant.discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)[1]["consistency"].item()

    assert consistency(input_noise=0.3, hidden_noise=0.5) > 0
    assert consistency(input_noise=0.0, hidden_noise=0.0) == 0


# --- manifold ---


def test_manifold_adds_the_change_of_the_logits(
    tiny_task: Task, batch: Any, images: Tensor, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    real, gen, moved = logits(2 * BATCH), logits(BATCH), logits(BATCH)
    nets = SimpleNamespace(discriminator=fake(t(real), t(gen), t(moved)), generator=fake(torch.cat([images, images])))
    recipe = ManifoldRecipe(**SMALL, unsupervised_weight=2.0, manifold_weight=0.3)
    loss, logs = Manifold(tiny_task, recipe).discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    lab, unl = real[:BATCH], real[BATCH:]
    change = ((gen - moved) ** 2).sum(1).mean()
    adversarial = 0.5 * softplus(-score(unl)).mean() + 0.5 * softplus(score(gen)).mean()
    assert loss.item() == pytest.approx(cross_entropy(lab, LABELS) + 2 * adversarial + 0.3 * change)
    g_manifold = 2 * 0.3 / BATCH * (gen - moved)
    g_fake = 2 * 0.5 / BATCH * (1 / (1 + np.exp(-score(gen))))[:, None] * softmax(gen)
    own, other = (np.sqrt((g**2).sum()) for g in (g_manifold, g_fake))
    assert logs["share"].item() == pytest.approx(own / (own + other))


def test_neighbours_are_a_step_of_the_given_length_apart(recorded_noise: Callable[..., Any]) -> None:
    noise = recorded_noise()
    z, moved = neighbours(noise.uniform(6, 10), noise, 0.25).split(6)
    assert torch.linalg.vector_norm(moved - z, dim=1).tolist() == pytest.approx([0.25] * 6)
    assert z.min() >= 0
    assert z.max() < 1


def test_mirrored_noise_gives_both_halves_the_same_numbers(recorded_noise: Callable[..., Noise]) -> None:
    mirrored = Mirrored(recorded_noise())
    for piece in (mirrored.normal(6, 2), mirrored.uniform(6, 2), mirrored.keep_mask((6, 50), 0.5)):
        assert torch.equal(piece[:3], piece[3:])
        assert piece[:3].unique().numel() > 1


def test_neighbouring_images_share_noise_and_batch_statistics(
    tiny_task: Task, batch: Any, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    """With a step of almost nothing the change is almost nothing, however loud the noise."""
    variant = Manifold(tiny_task, ManifoldRecipe(**SMALL, manifold_step=1e-9, hidden_noise=5.0))
    _, logs = variant.discriminator_loss(build_nets(variant), batch, recorded_noise(), {}, PROGRESS)
    assert 0 < logs["manifold"].item() < 1e-12


# --- rf ---


@pytest.mark.parametrize("joint", [True, False])
def test_rf_discriminator_loss(
    joint: bool, tiny_task: Task, batch: Any, images: Tensor, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    everything = logits(3 * BATCH, K + 1)
    nets = SimpleNamespace(discriminator=fake(t(everything)), generator=fake(images))
    recipe = RFRecipe(**SMALL, unsupervised_weight=3.0, joint=joint)
    loss, _ = RF(tiny_task, recipe).discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    lab, unl, gen = np.split(everything, 3)
    supervised = cross_entropy(lab, LABELS + 1) if joint else cross_entropy(lab[:, 1:], LABELS)
    adversarial = 0.5 * softplus(unl[:, 0]).mean() + 0.5 * softplus(-gen[:, 0]).mean()
    assert loss.item() == pytest.approx(supervised + 3 * adversarial)


def test_rf_generator_loss(
    tiny_task: Task, batch: Any, images: Tensor, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    real, false, out = logits(BATCH, 5), logits(BATCH, 5), logits(BATCH, K + 1)
    nets = SimpleNamespace(discriminator=fake(t(real), t(false), t(out)), generator=fake(images))
    recipe = RFRecipe(**SMALL, matching_weight=0.5)
    loss, _ = RF(tiny_task, recipe).generator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    matching = ((real.mean(0) - false.mean(0)) ** 2).mean()
    assert loss.item() == pytest.approx(softplus(out[:, 0]).mean() + 0.5 * matching)


def test_rf_classifies_by_the_class_outputs_alone(tiny_task: Task, images: Tensor, fake: Any) -> None:
    out = logits(BATCH, K + 1)
    found = RF(tiny_task, RFRecipe(**SMALL)).classify(SimpleNamespace(discriminator=fake(t(out))), images)
    assert np.array_equal(found.numpy(), out[:, 1:])


# --- cat ---


def shannon(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(p)).sum(-1)


def test_cat_losses(tiny_task: Task, batch: Any, images: Tensor, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    lab, unl, gen = logits(), logits(), logits()
    nets = SimpleNamespace(discriminator=fake(t(lab), t(unl), t(gen)), generator=fake(images))
    variant = Cat(tiny_task, CatRecipe(**SMALL, unsupervised_weight=0.5))
    loss, _logs = variant.discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    p, q = softmax(unl), softmax(gen)
    objective = -shannon(p.mean(0)) + shannon(p).mean() - shannon(q).mean()
    assert loss.item() == pytest.approx(cross_entropy(lab, LABELS) + 0.5 * objective)
    assert [o.get("update", False) for o in nets.discriminator.options] == [False, True, False]
    nets = SimpleNamespace(discriminator=fake(t(gen)), generator=fake(images))
    loss, _ = variant.generator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(-shannon(q.mean(0)) + shannon(q).mean())


def test_entropies_at_their_limits() -> None:
    uniform, sure = torch.zeros(6, K, dtype=torch.float64), 100 * torch.eye(K, dtype=torch.float64)
    assert losses.entropy(uniform).item() == pytest.approx(np.log(K))
    assert losses.marginal_entropy(uniform).item() == pytest.approx(np.log(K))
    assert losses.entropy(sure).item() == pytest.approx(0, abs=1e-12)
    assert losses.marginal_entropy(sure).item() == pytest.approx(np.log(K))
    assert losses.marginal_entropy(sure[:1]).item() == pytest.approx(0, abs=1e-12)


def test_cat_networks_of_the_paper(mnist_task: Callable[[int], Task]) -> None:
    variant = Cat(mnist_task(100), Cat.recipes["paper"]["grey"])
    nets = {name: make() for name, make in variant.networks().items()}
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    widths = [784, 1000, 500, 250, 250, 250]
    d = sum(i * o + 2 * o for i, o in itertools.pairwise(widths)) + 250 * 10 + 10
    g = 128 * 500 + 500 * 500 + 500 * 1000 + 2 * (500 + 500 + 1000) + 1000 * 784 + 784
    assert counts == {"discriminator": d, "generator": g}


# --- the terms that several share ---


def test_pull_away_is_the_mean_squared_cosine() -> None:
    f = RNG.normal(size=(5, 7))
    unit = f / np.linalg.norm(f, axis=1, keepdims=True)
    expected = np.mean([(unit[i] @ unit[j]) ** 2 for i in range(5) for j in range(5) if i != j])
    assert losses.pull_away(t(f)).item() == pytest.approx(expected)
    assert losses.pull_away(torch.ones(4, 3, dtype=torch.float64)).item() == pytest.approx(1)
    assert losses.pull_away(torch.eye(4, dtype=torch.float64)).item() == pytest.approx(0)


def test_l1_feature_matching() -> None:
    real, false = RNG.normal(size=(5, 7)), RNG.normal(size=(4, 7))
    expected = np.abs(real.mean(0) - false.mean(0)).mean()
    assert losses.feature_matching_l1(t(real), t(false)).item() == pytest.approx(expected)


def test_belt_is_option2_with_points_of_the_belt(fake: Any, recorded_noise: Callable[..., Any]) -> None:
    answers = logits(3 * BATCH)
    network, noise = fake(t(answers)), recorded_noise()
    task = Task((2,), 3, None, 6, 30)
    variant = Belt(task, BeltRecipe(steps=1, batch=BATCH, classifier=(4,), unsupervised_weight=2.0))
    points = {"labelled": Examples(torch.zeros(BATCH, 2), torch.tensor(LABELS)), "unlabelled": torch.ones(BATCH, 2)}
    loss, _ = variant.loss(SimpleNamespace(discriminator=network), points, noise, {}, torch.zeros(()))
    lab, unl, gen = np.split(answers, 3)
    unsupervised = 0.5 * softplus(-score(unl)).mean() + 0.5 * softplus(score(gen)).mean()
    assert loss.item() == pytest.approx(cross_entropy(lab, LABELS) + 2 * unsupervised)
    radius = network.calls[0][0][2 * BATCH :].norm(dim=1).numpy()
    assert radius == pytest.approx(0.75 + 0.025 * noise.read[1][:, 0])
