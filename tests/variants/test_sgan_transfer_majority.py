"""sgan, transfer and majority, and the consistency term where it enters a loss, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import registry
from bench.variant import Adam, Examples, Task
from variants.entmin import EntMin
from variants.majority import Majority, MajorityRecipe
from variants.parts.confident import ConfidentRecipe
from variants.sgan import SGAN, SGANRecipe
from variants.transfer import Transfer, TransferRecipe

BATCH, K, PROGRESS = 4, 3, torch.zeros(())
LABELS = np.array([2, 0, 1, 1])
RNG = np.random.default_rng(5)


def t(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values)


def logits(rows: int = BATCH) -> np.ndarray:
    return RNG.normal(size=(rows, K), scale=2)


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def cross_entropy(x: np.ndarray, labels: np.ndarray = LABELS) -> float:
    return -log_softmax(x)[np.arange(len(labels)), labels].mean()


def d(x: np.ndarray) -> np.ndarray:
    """P(real) = 1 - 1 / (sum_k e^{l_k} + 1), as the book's code has it."""
    return 1 - 1 / (np.exp(x).sum(1) + 1)


@pytest.fixture
def batch(tiny_task: Task) -> dict[str, Any]:
    images = [t(RNG.random((BATCH, *tiny_task.image_shape))) for _ in range(2)]
    return {"labelled": Examples(images[0], t(LABELS)), "unlabelled": images[1]}


# --- sgan ---


def sgan(task: Task) -> SGAN:
    return SGAN(task, SGANRecipe(network="mlp", batch=BATCH, classifier=(6,), generator=(5,), steps=1))


def test_sgan_has_three_losses(tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    lab, unl, gen = logits(), logits(), logits()
    variant, images = sgan(tiny_task), torch.zeros(BATCH, *tiny_task.image_shape)
    nets = SimpleNamespace(discriminator=fake(t(lab)))
    assert variant.classifier_loss(nets, batch, recorded_noise(), {}, PROGRESS)[0].item() == pytest.approx(
        cross_entropy(lab)
    )
    nets = SimpleNamespace(discriminator=fake(t(unl), t(gen)), generator=fake(images))
    loss, _ = variant.discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(-0.5 * np.log(d(unl)).mean() - 0.5 * np.log(1 - d(gen)).mean())
    assert nets.discriminator.options == [{"update": True}, {}]  # batch norm's statistics follow the unlabelled images
    nets = SimpleNamespace(discriminator=fake(t(gen)), generator=fake(images))
    loss, _ = variant.generator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(-np.log(d(gen)).mean())


def test_smoothing_lowers_the_target_of_real_images_alone(
    tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    unl, gen = logits(), logits()
    recipe = sgan(tiny_task).recipe.model_copy(update={"smoothing": 0.1, "historical_weight": 0.5})
    variant, images = SGAN(tiny_task, recipe), torch.zeros(BATCH, *tiny_task.image_shape)
    nets = SimpleNamespace(discriminator=fake(t(unl), t(gen)), generator=fake(images))
    loss, _ = variant.discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    real = -(0.9 * np.log(d(unl)) + 0.1 * np.log(1 - d(unl))).mean()
    assert loss.item() == pytest.approx(0.5 * real - 0.5 * np.log(1 - d(gen)).mean())
    (phase,) = variant.phases()
    weights = {player.name: player.historical_weight for player in phase.players}
    assert weights == {"classifier": 0.0, "discriminator": 0.5, "generator": 0.5}


def test_sgan_steps_label_loss_first_with_moments_of_its_own(tiny_task: Task) -> None:
    kind = registry.get("sgan")
    variant = kind(Task((1, 28, 28), 10, (0.0, 1.0), 100, 59_900), kind.recipe_for("paper", "mnist", "grey"))
    (phase,) = variant.phases()
    assert [(p.name, p.networks, p.lr, p.optimiser) for p in phase.players] == [
        ("classifier", ("discriminator",), 1e-3, Adam((0.9, 0.999))),
        ("discriminator", ("discriminator",), 1e-3, Adam((0.9, 0.999))),
        ("generator", ("generator",), 1e-3, Adam((0.9, 0.999))),
    ]
    assert {name: (draw.size, draw.pool, draw.order) for name, draw in variant.draws().items()} == {
        "labelled": (32, "labelled", "replacement"),
        "unlabelled": (32, "unlabelled", "replacement"),
    }
    assert variant.steps() == 8000


# --- transfer ---


def test_the_student_sees_generated_images_and_what_they_were_made_for(
    tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    answers, images = logits(6), t(RNG.random((6, *tiny_task.image_shape)))
    variant = Transfer(tiny_task, TransferRecipe(network="mlp", steps=10, generated=6))
    nets = SimpleNamespace(student=fake(t(answers)), generator=fake(images))
    loss, _ = variant.student_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(cross_entropy(answers, np.arange(6) % K))
    assert nets.student.calls[0][0] is images
    codes = nets.generator.calls[0][1]
    assert codes.argmax(1).tolist() == [0, 1, 2, 0, 1, 2]
    assert variant.classify(SimpleNamespace(student=fake(t(answers))), images).tolist() == answers.tolist()


def test_the_student_comes_last_and_alone(tiny_task: Task) -> None:
    recipe = TransferRecipe(network="mlp", steps=100, pretrain_epochs=0, transfer_share=0.3, pseudo_from=0.5)
    phases = [phase for phase in Transfer(tiny_task, recipe).phases() if phase.share]
    total = sum(phase.share for phase in phases)
    assert [phase.name for phase in phases] == ["main", "pseudo-labels", "transfer"]
    assert [phase.share / total for phase in phases] == pytest.approx([0.35, 0.35, 0.3])
    assert [player.networks for player in phases[-1].players] == [("student",)]


# --- majority ---


def test_majority_converges_to_log_frequencies() -> None:
    labels = np.array([0] * 5 + [1] * 3 + [2] * 2)
    variant = Majority(Task((4,), K, None, 10, 0), MajorityRecipe(steps=1))
    net = variant.networks()["classifier"]()
    nets = SimpleNamespace(classifier=net)
    batch = {"labelled": Examples(torch.rand(10, 4), t(labels))}
    optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        loss, _ = variant.loss(nets, batch, None, {}, PROGRESS)  # type: ignore[arg-type]
        loss.backward()
        optimiser.step()
    shares = np.array([0.5, 0.3, 0.2])
    assert loss.item() == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-4)
    answers = variant.classify(nets, torch.rand(7, 4)).softmax(-1).detach().numpy()
    assert answers == pytest.approx(np.tile(shares, (7, 1)), abs=0.01)


# --- the consistency term ---


def test_consistency_enters_the_loss_with_its_ramp(
    tiny_task: Task, batch: Any, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    lab, first, second = logits(), logits(), logits()
    recipe = ConfidentRecipe(
        network="mlp", steps=100, entropy_weight=0.0, balance_weight=0.0, weight_decay=0.0, consistency_weight=8.0,
        consistency_ramp=0.5,
    )  # fmt: skip
    net = fake(t(lab), t(first), t(second), head__layers__1__scale=torch.zeros(K))
    loss, _ = EntMin(tiny_task, recipe).classifier_loss(
        SimpleNamespace(classifier=net), batch, recorded_noise(), {}, torch.tensor(0.25, dtype=torch.float64)
    )
    p, q = np.exp(log_softmax(first)), np.exp(log_softmax(second))
    weight = 8 * np.exp(-5 * 0.5**2)
    assert loss.item() == pytest.approx(cross_entropy(lab) + weight * ((p - q) ** 2).mean())
    assert [options.get("update", False) for options in net.options] == [False, False, True]
    assert torch.equal(net.calls[1][0], net.calls[2][0])


@pytest.mark.parametrize("name", ["triple", "ugan"])
def test_consistency_moves_the_classifier_of_the_gans_alone(
    name: str, tiny_task: Task, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    """The loss differs by w_con(t) times what is logged, and the other losses are the same.

    The terms that read noise after the second pass have weight 0 here.
    """
    kind = registry.get(name)
    small: dict[str, Any] = {"network": "mlp", "steps": 100, "classifier": (6, 5), "generator": (5,), "generated": 6}
    small |= {"adversarial_weight": 0.0}
    small |= {
        "discriminator": (6, 5),
        **({"bad_generator": (5,), "bad_generated": 4, "bad_weight": 0.0} if name == "ugan" else {}),
    }
    rng = np.random.default_rng(0)
    images = [t(rng.random((BATCH, *tiny_task.image_shape))) for _ in range(4)]
    data = {
        "labelled": Examples(images[0], t(LABELS)), "unlabelled": images[1],
        "positive_labelled": Examples(images[2], t(LABELS)), "positive_unlabelled": images[3],
    }  # fmt: skip
    found = []
    for weight in (0.0, 2.0):
        variant = kind(tiny_task, kind.recipe_type(**small, consistency_weight=weight))
        nets = build_nets(variant)
        own, logs = variant.classifier_loss(nets, data, recorded_noise(), {}, torch.ones(()).double(), pseudo=False)
        others = [
            getattr(variant, loss)(nets, data, recorded_noise(), {}, PROGRESS)[0].item()
            for loss in ("discriminator_loss", "generator_loss")
        ]
        found.append((own.item(), logs, others))
    (without, logs, others), (with_term, more, same) = found
    assert "consistency" not in logs
    assert others == same
    assert with_term == pytest.approx(without + 2 * more["consistency"].item())
    assert more["consistency"].item() > 0
