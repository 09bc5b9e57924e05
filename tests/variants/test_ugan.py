"""UGAN: the bad generator's and the classifier's losses against NumPy, its players, and its networks for MNIST."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.variant import Adam, Examples, Task
from variants.parts.networks.ugan import conv_classifier
from variants.ugan import UGAN, UGANRecipe

K, PROGRESS = 3, torch.zeros(())
RNG = np.random.default_rng(0)
LABELS = np.array([2, 0, 1, 1])
SMALL: dict[str, Any] = {
    "steps": 1, "network": "mlp", "classifier": (6, 5), "generator": (5, 4), "discriminator": (6, 5),
    "bad_generator": (5, 4), "labelled_batch": 4, "unlabelled_batch": 5, "generated": 6, "bad_generated": 4,
    "pretrain_epochs": 0,
}  # fmt: skip
WEIGHT = RNG.normal(size=(K, 5))


def t(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def score(x: np.ndarray) -> np.ndarray:
    return np.log(np.exp(x).sum(1))


def small(task: Task, **fields: Any) -> UGAN:
    return UGAN(task, UGANRecipe(**SMALL | fields))


@pytest.fixture
def batch(tiny_task: Task) -> dict[str, Any]:
    def images(n: int) -> Tensor:
        return t(RNG.random((n, *tiny_task.image_shape)))

    return {"labelled": Examples(images(4), t(LABELS)), "unlabelled": images(5)}


def test_bad_generator_loss(tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    real, false = RNG.normal(size=(5, 7)), RNG.normal(size=(4, 7))
    images = torch.full((4, *tiny_task.image_shape), 0.5, dtype=torch.float64)
    nets = SimpleNamespace(classifier=fake(t(real), t(false)), bad_generator=fake(images))
    variant = small(tiny_task, pull_away_weight=0.8)
    loss, _ = variant.bad_generator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    unit = false / np.linalg.norm(false, axis=1, keepdims=True)
    cosines = (unit @ unit.T) ** 2
    expected = np.abs(real.mean(0) - false.mean(0)).mean() + 0.8 * (cosines.sum() - np.trace(cosines)) / 12
    assert loss.item() == pytest.approx(expected)
    assert all(options["features"] for options in nets.classifier.options)


def test_older_forms_of_the_bad_path(
    tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    """Plain cosines, each feature with itself among them; unlabelled images of its own."""
    real, false = RNG.normal(size=(5, 7)), RNG.normal(size=(4, 7))
    images = torch.full((4, *tiny_task.image_shape), 0.5, dtype=torch.float64)
    nets = SimpleNamespace(classifier=fake(t(real), t(false)), bad_generator=fake(images))
    variant = small(tiny_task, pull_away_weight=0.8, pull_away="cosine", own_batch=True)
    batch["unlabelled_bad"] = images[:2]
    loss, _ = variant.bad_generator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    unit = false / np.linalg.norm(false, axis=1, keepdims=True)
    expected = np.abs(real.mean(0) - false.mean(0)).mean() + 0.8 * (unit @ unit.T).mean()
    assert loss.item() == pytest.approx(expected)
    assert nets.classifier.calls[0][0] is batch["unlabelled_bad"]
    assert variant.draws()["unlabelled_bad"] == variant.draws()["unlabelled"]
    assert "unlabelled_bad" not in small(tiny_task).draws()


def test_a_batch_of_its_own_is_what_the_bad_path_calls_real(
    tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    lab, unl, own, pairs = (RNG.normal(size=(n, K), scale=2) for n in (4, 5, 5, 8))
    images = torch.full((8, *tiny_task.image_shape), 0.5, dtype=torch.float64)
    nets = SimpleNamespace(
        classifier=fake(t(lab), t(unl), t(own), t(pairs), head__layers__0__weight=t(WEIGHT)),
        discriminator=fake(t(RNG.normal(size=5))), bad_generator=fake(images),
    )  # fmt: skip
    batch["unlabelled_bad"] = images[:5]
    _, logs = small(tiny_task, own_batch=True).classifier_loss(
        nets, batch, recorded_noise(), {}, PROGRESS, pseudo=False
    )
    p = softmax(unl)
    assert logs["real"].item() == pytest.approx(softplus(-score(own)).mean())
    assert logs["entropy"].item() == pytest.approx(-(p * np.log(p)).sum(1).mean())
    assert nets.classifier.calls[2][0] is batch["unlabelled_bad"]


@pytest.mark.parametrize("pseudo", [False, True])
@pytest.mark.parametrize(("good", "bad"), [(1.0, 1.0), (0.5, 3.0), (0.0, 0.0)])
def test_classifier_loss(
    pseudo: bool, good: float, bad: float, tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    lab, unl, gen, pairs = (RNG.normal(size=(n, K), scale=2) for n in (4, 5, 6, 8))
    d = RNG.normal(size=5, scale=2)

    def generated(n: int) -> Tensor:
        return torch.full((n, *tiny_task.image_shape), 0.5, dtype=torch.float64)

    answers = [lab, unl, gen, pairs] if pseudo else [lab, unl, pairs]
    nets = SimpleNamespace(
        classifier=fake(*map(t, answers), head__layers__0__weight=t(WEIGHT)),
        discriminator=fake(t(d)),
        generator=fake(generated(6)),
        bad_generator=fake(generated(8)),
    )
    weights = {"entropy_weight": 0.3, "balance_weight": 0.2, "adversarial_weight": 0.4, "pseudo_weight": 0.7}
    variant = small(tiny_task, **weights, good_weight=good, bad_weight=bad, manifold_weight=0.6, weight_decay=0.01)
    loss, _ = variant.classifier_loss(nets, batch, recorded_noise(), {}, PROGRESS, pseudo=pseudo)
    p = softmax(unl)
    l_good = -0.3 * (p * np.log(p)).sum(1).mean() - 0.2 * np.log(p.mean(0)).mean()
    l_good += 0.4 * 0.5 * (p.max(1) * softplus(-d)).mean()
    if pseudo:
        l_good -= 0.7 * np.log(softmax(gen)[np.arange(6), np.arange(6) % K]).mean()
    own, moved = pairs[:4], pairs[4:]
    l_bad = 0.5 * softplus(-score(unl)).mean() + 0.5 * softplus(score(own)).mean()
    l_bad += 0.6 * ((own - moved) ** 2).sum(1).mean()
    supervised = -np.log(softmax(lab)[np.arange(4), LABELS]).mean()
    expected = supervised + good * l_good + bad * l_bad + 0.01 * (WEIGHT**2).sum()
    assert loss.item() == pytest.approx(expected)
    assert [o.get("update", False) for o in nets.classifier.options] == [False, True, *[False] * (len(answers) - 2)]


def test_players_of_the_paper(mnist_task: Callable[[int], Task]) -> None:
    variant = UGAN(mnist_task(100), UGAN.recipes["paper"]["grey"])
    _, main, late = variant.phases()
    assert [p.name for p in main.players] == ["discriminator", "generator", "bad_generator", "classifier"]
    assert main.share / (main.share + late.share) == pytest.approx(0.2)
    assert variant.steps() == 1000 * 599
    assert not late.fresh
    *rivals, classifier = main.players
    assert {p.lr for p in rivals} == {1e-3}
    assert classifier.lr == 3e-4
    assert {p.optimiser for p in main.players} == {Adam((0.5, 0.999))}
    assert rivals[0].schedule(1.0) == pytest.approx(0.995**700)
    assert classifier.schedule(1.0) == pytest.approx(0.99**700)
    assert classifier.schedule(0.3) == 1
    sizes = {name: draw.size for name, draw in variant.draws().items()}
    assert sizes == {"labelled": 100, "unlabelled": 100, "positive_labelled": 20, "positive_unlabelled": 80}
    assert {draw.pool for name, draw in variant.draws().items() if "unlabelled" in name} == {"unlabelled"}


def test_classifier_of_the_paper_has_the_specified_size(mnist_task: Callable[[int], Task]) -> None:
    """21.9 million multiply-adds per image, and a feature layer of 128."""
    network = conv_classifier(mnist_task(100))
    products = 0

    def count(module: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal products
        products += output[0].numel() * module.weight[0].numel()  # type: ignore[operator, union-attr]

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    images = torch.rand(2, 1, 28, 28)
    assert network(images, features=1).shape == (2, 128)
    assert products == pytest.approx(21.9e6, rel=0.01)
    assert network(images).shape == (2, 10)


def test_its_own_networks_take_latents_from_both_sides_of_zero_and_labels_at_random(
    mnist_task: Callable[[int], Task], fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    variant = UGAN(mnist_task(100), UGAN.recipes["paper"]["grey"])
    nets = SimpleNamespace(generator=fake(torch.zeros(100, 1, 28, 28)))
    _, labels = variant.fakes(nets, recorded_noise(), torch.zeros(1))
    z, pairs, _ = nets.generator.calls[0]
    assert z.min() < -0.9
    assert z.max() > 0.9
    assert 5 < labels.bincount(minlength=10).max() < 30
    assert torch.equal(pairs.argmax(1), labels)
