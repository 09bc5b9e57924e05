"""margin, vanilla and entmin: their losses against a second derivation in NumPy, and who is trained when."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.variant import Examples, Task
from variants.entmin import EntMin
from variants.margin import Margin, MarginRecipe, log_of_the_rest
from variants.parts.confident import ConfidentRecipe
from variants.triple import Triple
from variants.vanilla import Vanilla, VanillaRecipe

BATCH, K, PROGRESS = 4, 3, torch.zeros(())
RNG = np.random.default_rng(0)
LABELS = np.array([2, 0, 1, 1])
FEATURES = np.random.default_rng(1).normal(size=(BATCH, 5))
SMALL: dict[str, Any] = {"steps": 1, "batch": BATCH, "classifier": (6, 5), "generator": (5, 4)}


def t(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    return -np.log(softmax(logits)[np.arange(len(labels)), labels]).mean()


def bce1(d: np.ndarray) -> float:
    return np.log1p(np.exp(-d)).mean()


def bce0(d: np.ndarray) -> float:
    return np.log1p(np.exp(d)).mean()


@pytest.fixture
def batch(tiny_task: Task) -> dict[str, Any]:
    images = [t(RNG.random((BATCH, *tiny_task.image_shape))) for _ in range(2)]
    return {"labelled": Examples(images[0], t(LABELS)), "unlabelled": images[1]}


@pytest.fixture
def images(tiny_task: Task) -> Tensor:
    return torch.full((BATCH, *tiny_task.image_shape), 0.25, dtype=torch.float64)


# --- margin ---


def margin(task: Task, **fields: Any) -> Margin:
    return Margin(task, MarginRecipe(**SMALL, discriminator=(6, 5), **fields))


def test_margin_discriminator_takes_labelled_and_unlabelled_images_for_real(
    tiny_task: Task, batch: Any, images: Tensor, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    d = RNG.normal(size=(3 * BATCH, 1), scale=2)
    nets = SimpleNamespace(discriminator=fake(t(d)), generator=fake(images))
    loss, _ = margin(tiny_task).discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(bce1(d[: 2 * BATCH]) + bce0(d[2 * BATCH :]))
    (seen, _) = nets.discriminator.calls[0]
    assert torch.equal(seen, torch.cat([batch["labelled"].images, batch["unlabelled"], images]))


def test_margin_classifier_loss(
    tiny_task: Task, batch: Any, images: Tensor, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    everything = RNG.normal(size=(3 * BATCH, K), scale=2)
    nets = SimpleNamespace(classifier=fake(t(everything)), generator=fake(images))
    variant = margin(tiny_task, pseudo_weight=0.5, fake_weight=0.3)
    loss, _ = variant.classifier_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    lab, unl, gen = np.split(everything, 3)
    rest = -np.log(1 - softmax(gen).max(1)).mean()
    assert loss.item() == pytest.approx(
        cross_entropy(lab, LABELS) + 0.5 * cross_entropy(unl, unl.argmax(1)) + 0.3 * rest
    )


def test_margin_generator_wants_the_classifier_sure(
    tiny_task: Task, batch: Any, images: Tensor, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    d, c = RNG.normal(size=(BATCH, 1)), RNG.normal(size=(BATCH, K))
    variant = margin(tiny_task, adversarial_weight=0.9, margin_weight=0.1)

    def loss(on: bool) -> float:
        discriminator = fake(t(FEATURES), t(d))
        nets = SimpleNamespace(discriminator=discriminator, classifier=fake(t(c)), generator=fake(images))
        return variant.generator_loss(nets, batch, recorded_noise(), {}, PROGRESS, margin=on)[0].item()

    assert loss(False) == pytest.approx(0.9 * bce1(d))
    assert loss(True) == pytest.approx(0.9 * bce1(d) + 0.1 * cross_entropy(c, c.argmax(1)))


def test_log_of_the_rest_stays_finite_where_the_classifier_is_sure() -> None:
    logits = torch.tensor([[50.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert log_of_the_rest(logits).tolist() == pytest.approx([np.log(2) - 50, np.log(2 / 3)])


def test_margin_warms_up_without_unlabelled_terms(tiny_task: Task) -> None:
    variant = margin(tiny_task, warmup=0.2)
    warmup, main = variant.phases()
    assert warmup.share / (warmup.share + main.share) == pytest.approx(0.2)
    assert warmup.players[2].loss == variant.warmup_loss
    assert main.players[2].loss == variant.classifier_loss


# --- vanilla ---


def test_vanilla_losses(
    tiny_task: Task, batch: Any, images: Tensor, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    variant = Vanilla(tiny_task, VanillaRecipe(**SMALL))
    d = RNG.normal(size=(2 * BATCH, 1), scale=2)
    nets = SimpleNamespace(discriminator=fake(t(d)), generator=fake(images))
    loss, _ = variant.discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(0.5 * bce1(d[:BATCH]) + 0.5 * bce0(d[BATCH:]))
    nets = SimpleNamespace(discriminator=fake(t(FEATURES), t(d[:BATCH])), generator=fake(images))
    assert variant.generator_loss(nets, batch, recorded_noise(), {}, PROGRESS)[0].item() == pytest.approx(
        bce1(d[:BATCH])
    )
    logits = RNG.normal(size=(BATCH, K))
    nets = SimpleNamespace(discriminator=fake(t(RNG.normal(size=(BATCH, 5)))), head=fake(t(logits)))
    assert variant.head_loss(nets, batch, recorded_noise(), {}, PROGRESS)[0].item() == pytest.approx(
        cross_entropy(logits, LABELS)
    )


@pytest.mark.parametrize("kind", [Vanilla, Margin])
def test_the_generator_takes_terms_on_features(
    kind: Any, tiny_task: Task, batch: Any, images: Tensor, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    """Each with its weight beside the adversarial term, or without it."""
    real, d = RNG.normal(size=(BATCH, 5)), RNG.normal(size=(BATCH, 1))
    unit = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    away = ((unit @ unit.T) ** 2)[~np.eye(BATCH, dtype=bool)].mean()
    matching = ((real.mean(0) - FEATURES.mean(0)) ** 2).mean()
    for adversarial in (0.7, 0.0):
        weights = {"matching_weight": 2.0, "pull_away_weight": 0.3, "adversarial_weight": adversarial}
        variant = kind(tiny_task, kind.recipe_type(**SMALL, **weights))
        nets = SimpleNamespace(discriminator=fake(t(real), t(FEATURES), t(d)), generator=fake(images))
        options = {"margin": False} if kind is Margin else {}
        loss, _ = variant.generator_loss(nets, batch, recorded_noise(), {}, PROGRESS, **options)
        assert loss.item() == pytest.approx(2.0 * matching + 0.3 * away + adversarial * bce1(d))


@pytest.mark.parametrize("kind", [Vanilla, Margin])
def test_the_classifier_is_not_the_network_with_minibatch_discrimination(
    kind: Any, tiny_task: Task, build_nets: Callable[..., Any]
) -> None:
    narrow = {"discriminator": (6, 5)} if kind is Margin else {}
    variant = kind(tiny_task, kind.recipe_type(**SMALL, **narrow, minibatch_kernels=3))
    nets, images = build_nets(variant), torch.rand(4, 1, 2, 3, dtype=torch.float64)
    assert torch.allclose(variant.classify(nets, images[:2]), variant.classify(nets, images)[:2])
    assert not torch.allclose(nets.discriminator(images[:2]), nets.discriminator(images)[:2])


def test_vanilla_gan_rests_while_the_head_learns(tiny_task: Task) -> None:
    gan, head = Vanilla(tiny_task, VanillaRecipe(**SMALL, head_from=0.7)).phases()
    assert [p.name for p in gan.players] == ["discriminator", "generator"]
    assert [p.networks for p in head.players] == [("head",)]
    assert gan.share == pytest.approx(0.7)


def test_vanilla_gan_needs_no_label(
    tiny_task: Task, batch: Any, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    variant = Vanilla(tiny_task, VanillaRecipe(**SMALL))
    nets, without = build_nets(variant), {"unlabelled": batch["unlabelled"]}
    for loss in (variant.discriminator_loss, variant.generator_loss):
        value, _ = loss(nets, without, recorded_noise(), {}, PROGRESS)
        assert value.isfinite()


# --- entmin ---


def test_entmin_is_the_classifier_of_triple_without_its_gan(mnist_task: Callable[[int], Task]) -> None:
    for labels in (20, 200):
        task = mnist_task(labels)
        entmin = EntMin(task, EntMin.recipes["paper"]["grey"])
        triple = Triple(task, Triple.recipes["paper"]["grey"])
        assert entmin.steps() == triple.steps()
        assert {name: triple.draws()[name] for name in entmin.draws()} == entmin.draws()
        assert set(entmin.networks()) == {"classifier"}
        own, other = entmin.phases()[1].players[-1], triple.phases()[1].players[-1]
        assert (own.lr, own.optimiser, own.ema) == (other.lr, other.optimiser, other.ema)
        assert [own.schedule(p) for p in (0.1, 0.5, 1)] == [other.schedule(p) for p in (0.1, 0.5, 1)]


def test_entmin_loss(tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    lab, unl, weight = RNG.normal(size=(BATCH, K)), RNG.normal(size=(BATCH, K)), RNG.normal(size=(K, 5))
    nets = SimpleNamespace(classifier=fake(t(lab), t(unl), head__layers__0__weight=t(weight)))
    recipe = ConfidentRecipe(steps=1, entropy_weight=0.3, balance_weight=0.2, weight_decay=0.1)
    loss, _ = EntMin(tiny_task, recipe).classifier_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    p = softmax(unl)
    expected = cross_entropy(lab, LABELS) - 0.3 * (p * np.log(p)).sum(1).mean() - 0.2 * np.log(p.mean(0)).mean()
    assert loss.item() == pytest.approx(expected + 0.1 * (weight**2).sum())
