"""The losses of supervised, fm, option1 and option2 against a second derivation in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.variant import Adam, Ema, Examples, Task, Variant
from variants.fm import FM, FMRecipe
from variants.option1 import OptionI
from variants.option2 import OptionII
from variants.parts.recipes import AdversarialRecipe, ClassifierRecipe, exponential_decay, linear_decay
from variants.supervised import Supervised

BATCH, PROGRESS = 4, torch.zeros(())
GANS = [FM, OptionI, OptionII]
RNG = np.random.default_rng(0)
L_LAB, L_UNL, L_GEN = (RNG.normal(size=(BATCH, 4), scale=2) for _ in range(3))
LABELS = np.array([2, 0, 1, 1])


def recipe(kind: type[AdversarialRecipe] = FMRecipe, **fields: Any) -> AdversarialRecipe:
    return kind(**{"steps": 1, "batch": BATCH, "classifier": (6, 5), "generator": (5, 4)} | fields)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def joint(kind: type[Variant], logits: np.ndarray) -> np.ndarray:
    """p over K + 1 classes, the fake one last; K-logit heads get the fake logit 0."""
    return softmax(logits if kind is OptionI else np.concatenate([logits, np.zeros((len(logits), 1))], 1))


def classes(kind: type[Variant], logits: np.ndarray) -> np.ndarray:
    """The logits that the head has, of four given ones."""
    return logits if kind is OptionI else logits[:, :3]


def expected_terms(kind: type[Variant], lab: np.ndarray, unl: np.ndarray, gen: np.ndarray) -> tuple[float, ...]:
    """Label term, -mean log D on real and -mean log(1 - D) on generated images, from probabilities."""
    label = -np.log((joint(kind, lab) if kind is OptionI else softmax(lab))[np.arange(BATCH), LABELS]).mean()
    return label, -np.log(1 - joint(kind, unl)[:, -1]).mean(), -np.log(joint(kind, gen)[:, -1]).mean()


def tiny_batch(task: Task) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    images = [torch.from_numpy(rng.random((BATCH, *task.image_shape))) for _ in range(3)]
    return {
        "labelled": Examples(images[0], torch.from_numpy(LABELS)),
        "unlabelled": images[1],
        "unlabelled_generator": images[2],
    }


# --- given logits ---


@pytest.mark.parametrize("kind", GANS)
@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_discriminator_loss(
    kind: type[Any], weight: float, tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    lab, unl, gen = (classes(kind, logits) for logits in (L_LAB, L_UNL, L_GEN))
    nets = SimpleNamespace(
        discriminator=fake(torch.from_numpy(np.concatenate([lab, unl, gen]))),
        generator=fake(torch.full((BATCH, *tiny_task.image_shape), 0.25, dtype=torch.float64)),
    )
    batch = tiny_batch(tiny_task)
    loss, logs = kind(tiny_task, recipe(kind.recipe_type, unsupervised_weight=weight)).discriminator_loss(
        nets, batch, recorded_noise(), {}, PROGRESS
    )
    label, real, generated = expected_terms(kind, lab, unl, gen)
    assert loss.item() == pytest.approx(label + weight * 0.5 * (real + generated))
    assert logs["supervised"].item() == pytest.approx(label)
    assert logs["real"].item() == pytest.approx(real)
    assert logs["fake"].item() == pytest.approx(generated)
    assert logs["accuracy"].item() == (lab.argmax(1) == LABELS).mean()
    (images, noise) = nets.discriminator.calls[0]
    assert torch.equal(
        images, torch.cat([batch["labelled"].images, batch["unlabelled"], torch.full_like(images[:4], 0.25)])
    )
    assert noise is not None
    assert nets.generator.calls[0][0].shape == (BATCH, 100)


def test_discriminator_loss_at_known_values_of_d(
    tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    """Logits 0, K = 3: CE = log 3, D = 3/4, so L_D = log 3 - log(3/4)/2 - log(1/4)/2."""
    nets = SimpleNamespace(
        discriminator=fake(torch.zeros(12, 3, dtype=torch.float64)), generator=fake(torch.zeros(4, 1, 2, 3))
    )
    loss, _ = FM(tiny_task, recipe()).discriminator_loss(nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(np.log(3) - np.log(0.75) / 2 - np.log(0.25) / 2)


@pytest.mark.parametrize("kind", GANS)
def test_generated_images_can_weigh_less_than_unlabelled_ones(
    kind: type[Any], tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    lab, unl, gen = (classes(kind, logits) for logits in (L_LAB, L_UNL, L_GEN))
    nets = SimpleNamespace(
        discriminator=fake(torch.from_numpy(np.concatenate([lab, unl, gen]))),
        generator=fake(torch.full((BATCH, *tiny_task.image_shape), 0.25, dtype=torch.float64)),
    )
    variant = kind(tiny_task, recipe(kind.recipe_type, unsupervised_weight=2.0, fake_weight=0.3))
    loss, _ = variant.discriminator_loss(nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS)
    label, real, generated = expected_terms(kind, lab, unl, gen)
    assert loss.item() == pytest.approx(label + real + 0.3 * generated)


@pytest.mark.parametrize("progress", [0.0, 0.29, 0.3, 0.9])
def test_labels_can_wait_until_the_gan_has_learnt_alone(
    progress: float, tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    lab, unl, gen = (classes(FM, logits) for logits in (L_LAB, L_UNL, L_GEN))
    nets = SimpleNamespace(
        discriminator=fake(torch.from_numpy(np.concatenate([lab, unl, gen]))),
        generator=fake(torch.full((BATCH, *tiny_task.image_shape), 0.25, dtype=torch.float64)),
    )
    variant = FM(tiny_task, recipe(labels_from=0.3))
    now = torch.tensor(progress, dtype=torch.float64)
    loss, _ = variant.discriminator_loss(nets, tiny_batch(tiny_task), recorded_noise(), {}, now)
    label, real, generated = expected_terms(FM, lab, unl, gen)
    assert loss.item() == pytest.approx((progress >= 0.3) * label + 0.5 * (real + generated))


def test_option1s_label_term_can_leave_the_fake_class_out(tiny_task: Task) -> None:
    logits, labels = torch.from_numpy(L_LAB), torch.from_numpy(LABELS)
    for joint, p in ((True, softmax(L_LAB)), (False, softmax(L_LAB[:, :3]))):
        found = OptionI(tiny_task, recipe(OptionI.recipe_type, joint=joint)).label_loss(logits, labels)
        assert found.item() == pytest.approx(-np.log(p[np.arange(BATCH), LABELS]).mean())


@pytest.mark.parametrize("kind", GANS)
def test_a_saturating_generator_lowers_the_logarithm_of_one_minus_d(
    kind: type[Any], tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    gen = classes(kind, L_GEN)
    nets = SimpleNamespace(
        discriminator=fake(torch.zeros(BATCH, 5, dtype=torch.float64), torch.from_numpy(gen)),
        generator=fake(torch.zeros(4, 1, 2, 3)),
    )
    fields = {"adversarial_weight": 2.0, "matching_weight": 0.0, "saturating": True, "generator_steps": 3}
    variant = kind(tiny_task, recipe(kind.recipe_type, **fields))
    loss, _ = variant.generator_loss(nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(np.log(joint(kind, gen)[:, -1]).mean())
    assert [p.repeat for p in variant.phases()[0].players] == [1, 3]


def test_fm_generator_loss_matches_the_means_of_features(
    tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    real, generated = RNG.random((BATCH, 7)), RNG.random((BATCH, 7))
    nets = SimpleNamespace(
        discriminator=fake(torch.from_numpy(real), torch.from_numpy(generated)),
        generator=fake(torch.zeros(4, 1, 2, 3)),
    )
    batch = tiny_batch(tiny_task)
    loss, logs = FM(tiny_task, recipe()).generator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(((real.mean(0) - generated.mean(0)) ** 2).sum() / 7)
    assert logs == {}
    assert nets.discriminator.options == [{"features": 1}, {"features": 1, "update": False}]
    assert nets.discriminator.calls[0][0] is batch["unlabelled_generator"]
    assert all(call[1] is not None for call in nets.discriminator.calls)  # in training mode


@pytest.mark.parametrize("kind", [OptionI, OptionII])
def test_generator_lowers_the_probability_of_fake(
    kind: type[Any], tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    gen = classes(kind, L_GEN)
    leaf = torch.from_numpy(gen).requires_grad_()
    nets = SimpleNamespace(discriminator=fake(torch.zeros(4, 6), leaf), generator=fake(torch.zeros(4, 1, 2, 3)))
    loss, _ = kind(tiny_task, recipe(kind.recipe_type)).generator_loss(nets, {}, recorded_noise(), {}, PROGRESS)
    p = joint(kind, gen)
    d = 1 - p[:, -1]
    assert loss.item() == pytest.approx(-0.5 * np.log(d).mean())
    loss.backward()
    # d(-log D)/dl_k = -(1 - D) q_k for real classes (q = p / D), + (1 - D) for the fake logit
    slope = -(1 - d)[:, None] * p[:, :-1] / d[:, None]
    slope = np.concatenate([slope, (1 - d)[:, None]], 1) if kind is OptionI else slope
    assert leaf.grad is not None
    assert leaf.grad.numpy() == pytest.approx(0.5 * slope / BATCH)


@pytest.mark.parametrize("kind", [FM, OptionII])
def test_gradient_of_the_discriminator_loss(
    kind: type[Any], tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    lab, unl, gen = (classes(kind, logits) for logits in (L_LAB, L_UNL, L_GEN))
    leaf = torch.from_numpy(np.concatenate([lab, unl, gen])).requires_grad_()
    nets = SimpleNamespace(discriminator=fake(leaf), generator=fake(torch.zeros(4, 1, 2, 3)))
    loss, _ = kind(tiny_task, recipe(kind.recipe_type)).discriminator_loss(
        nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS
    )
    loss.backward()
    p_unl, p_gen = joint(kind, unl), joint(kind, gen)
    expected = [
        softmax(lab) - np.eye(3)[LABELS],
        -0.5 * p_unl[:, -1:] * softmax(unl),  # -(1 - D) q / 2
        0.5 * p_gen[:, :-1],  # D q / 2
    ]
    assert leaf.grad is not None
    assert leaf.grad.numpy() == pytest.approx(np.concatenate(expected) / BATCH)


def test_supervised_loss(tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    nets, batch = SimpleNamespace(classifier=fake(torch.from_numpy(L_LAB[:, :3]))), tiny_batch(tiny_task)
    variant = Supervised(tiny_task, ClassifierRecipe(steps=1, batch=BATCH))
    loss, logs = variant.loss(nets, batch, recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(-np.log(softmax(L_LAB[:, :3])[np.arange(4), LABELS]).mean())
    assert logs["accuracy"].item() == (L_LAB[:, :3].argmax(1) == LABELS).mean()
    assert nets.classifier.calls[0][0] is batch["labelled"].images
    assert list(variant.draws()) == ["labelled"]  # it never sees an unlabelled image
    assert [d.pool for d in variant.initial_draws().values()] == ["labelled"]


def test_option1_head_with_a_zero_fake_logit_is_option2(
    tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    """The unsupervised terms and the generator's loss agree; the label term differs by -log D on labelled images."""
    zero = np.zeros((BATCH, 1))
    losses = {}
    for kind, pad in ((OptionI, True), (OptionII, False)):
        parts = [np.concatenate([x[:, :3], zero], 1) if pad else x[:, :3] for x in (L_LAB, L_UNL, L_GEN)]
        variant = kind(tiny_task, recipe(kind.recipe_type))
        fakes = torch.zeros(4, 1, 2, 3)
        nets = SimpleNamespace(discriminator=fake(torch.from_numpy(np.concatenate(parts))), generator=fake(fakes))
        d_loss = variant.discriminator_loss(nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS)[0].item()
        nets = SimpleNamespace(discriminator=fake(None, torch.from_numpy(parts[2])), generator=fake(fakes))
        losses[kind] = d_loss, variant.generator_loss(nets, {}, recorded_noise(), {}, PROGRESS)[0].item()
    log_d = -np.logaddexp(0, -np.log(np.exp(L_LAB[:, :3]).sum(1))).mean()
    assert losses[OptionI][0] == pytest.approx(losses[OptionII][0] - log_d)
    assert losses[OptionI][1] == pytest.approx(losses[OptionII][1])


# --- with real networks ---


def mlp(network: Any, x: np.ndarray, noise: list[np.ndarray], features: bool = False) -> np.ndarray:
    """The noisy classifier in NumPy; takes its noise from the front of the list."""
    p = {name: value.detach().numpy() for name, value in network.tensors.items()}
    x = x.reshape(len(x), -1)
    for layer, sigma in (("body.layers.2", 0.3), ("body.layers.5", 0.5), ("head.layers.1", 0.5)):
        if features and layer.startswith("head"):
            break
        v = p[f"{layer}.direction"]
        weight = v * (p[f"{layer}.scale"] / np.sqrt((v**2).sum(1) + 1e-6))[:, None]
        x = (x + sigma * noise.pop(0)) @ weight.T + p[f"{layer}.bias"]
        x = x if layer.startswith("head") else np.maximum(x, 0)
    return x


@pytest.mark.parametrize("kind", GANS)
def test_discriminator_loss_of_real_networks(
    kind: type[Any], tiny_task: Task, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    """From images to loss: z, generator, noise before every layer, head, terms."""
    variant = kind(tiny_task, recipe(kind.recipe_type))
    nets, noise, batch = build_nets(variant), recorded_noise(), tiny_batch(tiny_task)
    loss, _ = variant.discriminator_loss(nets, batch, noise, {}, PROGRESS)
    z, *rest = noise.read
    assert z.shape == (BATCH, 100)
    assert z.min() >= 0
    assert z.max() < 1
    fakes = nets.generator(torch.from_numpy(z)).detach().numpy()  # checked in test_networks.py
    images = np.concatenate([batch["labelled"].images.numpy(), batch["unlabelled"].numpy(), fakes])
    logits = mlp(nets.discriminator, images, rest)
    assert rest == []
    label, real, generated = expected_terms(kind, logits[:4], logits[4:8], logits[8:])
    assert loss.item() == pytest.approx(label + 0.5 * real + 0.5 * generated)


def test_fm_generator_loss_of_real_networks(
    tiny_task: Task, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    variant = FM(tiny_task, recipe())
    nets, noise, batch = build_nets(variant), recorded_noise(), tiny_batch(tiny_task)
    loss, _ = variant.generator_loss(nets, batch, noise, {}, PROGRESS)
    (z,) = (piece for piece in noise.read if piece.shape == (BATCH, 100))
    normals = [piece for piece in noise.read if piece is not z]
    assert [piece.shape for piece in normals] == [(4, 6), (4, 6), (4, 6), (4, 6)]  # independent for real and fake
    fakes = nets.generator(torch.from_numpy(z)).detach().numpy()
    real = mlp(nets.discriminator, batch["unlabelled_generator"].numpy(), normals, features=1)
    generated = mlp(nets.discriminator, fakes, normals, features=1)
    assert loss.item() == pytest.approx(((real.mean(0) - generated.mean(0)) ** 2).mean())


# --- draws, phases, schedules ---


@pytest.mark.parametrize("kind", GANS)
def test_draws_and_players_of_the_paper(kind: type[Any], mnist_task: Callable[[int], Task]) -> None:
    variant = kind(mnist_task(100), kind.recipe_for("paper", "mnist", "grey"))
    draws = variant.draws()
    assert {name: (d.size, d.pool, d.order) for name, d in draws.items()} == {
        "labelled": (100, "labelled", "tiled"),
        "unlabelled": (100, "all", "epoch"),
        "unlabelled_generator": (100, "all", "epoch"),
    }
    assert variant.steps() == 300 * 600
    (phase,) = variant.phases()
    assert [player.name for player in phase.players] == ["discriminator", "generator"]  # D first, then G
    for player in phase.players:
        assert (player.lr, player.every, player.repeat) == (3e-3, 1, 1)
        assert player.optimiser == Adam(betas=(0.5, 0.999), eps=1e-8, eps_inside=True)
        assert [player.schedule(x) for x in (0.0, 0.5, 0.999)] == [1.0, 1.0, 1.0]
    assert [player.networks for player in phase.players] == [("discriminator",), ("generator",)]
    assert [player.ema for player in phase.players] == [Ema(0.9999, start="zero"), None]
    assert variant.recipe.evaluate_with == "ema"
    assert variant.recipe.evaluations >= 30


@pytest.mark.parametrize("labels", [20, 50, 100, 200])
def test_supervised_takes_as_many_updates_as_fm(labels: int, mnist_task: Callable[[int], Task]) -> None:
    task = mnist_task(labels)
    counts = {kind: kind(task, kind.recipe_for("paper", "mnist", "grey")).steps() for kind in (FM, Supervised)}
    assert counts == {FM: 180_000, Supervised: 180_000}


def test_the_pool_may_leave_the_labelled_images_out(tiny_task: Task) -> None:
    variant = FM(tiny_task, recipe(labelled_in_pool=False, steps=None, epochs=1))
    assert {d.pool for name, d in variant.draws().items() if name != "labelled"} == {"unlabelled"}
    assert variant.steps() == 30 // BATCH
    assert FM(tiny_task, recipe(steps=None, epochs=1)).steps() == 36 // BATCH


def test_linear_decay() -> None:
    schedule = linear_decay(0.6)
    assert [schedule(x) for x in (0.0, 0.6, 0.7, 0.8, 1.0)] == pytest.approx([1, 1, 0.75, 0.5, 0])
    assert [linear_decay(1.0)(x) for x in (0.0, 1.0)] == [1.0, 1.0]
    assert linear_decay(0.0)(0.25) == 0.75


def test_exponential_decay() -> None:
    schedule = exponential_decay(0.2, 0.01)
    assert [schedule(x) for x in (0.0, 0.2, 0.6, 1.0)] == pytest.approx([1, 1, 0.1, 0.01])


def test_recipe_fields_reach_their_places(tiny_task: Task) -> None:
    fields = recipe(
        lr=0.01, beta1=0.9, eps_inside=False, ema_decay=0.5, ema_zero_start=False, decay_from=0.5, input_noise=0.1,
        hidden_noise=0.2, initial_batch=7,
    )  # fmt: skip
    variant = FM(tiny_task, fields)
    player = variant.phases()[0].players[0]
    assert (player.lr, player.optimiser, player.ema) == (0.01, Adam((0.9, 0.999), 1e-8, False), Ema(0.5, "weights"))
    assert player.schedule(0.75) == 0.5
    net: Any = variant.networks()["discriminator"]()
    assert [net.body.layers[1].sigma, net.body.layers[4].sigma, net.head.layers[0].sigma] == [0.1, 0.2, 0.2]
    assert [d.size for d in variant.initial_draws().values()] == [7]


def test_logs_are_scalars(tiny_task: Task, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]) -> None:
    variant = FM(tiny_task, recipe())
    loss, logs = variant.discriminator_loss(build_nets(variant), tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS)
    assert loss.shape == ()
    assert all(isinstance(value, Tensor) and value.shape == () for value in logs.values())
