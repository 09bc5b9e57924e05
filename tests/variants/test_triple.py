"""Triple-GAN's losses, draws and phases against a second derivation in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.datasets import Dataset, make_split
from bench.training.noise import Lengths, record
from bench.training.trainer import Trainer
from bench.variant import Adam, Ema, Examples, Task
from variants.parts.confident import last_layer_norm
from variants.parts.layers import Linear, Stack, WeightNormLinear
from variants.parts.networks.mlp import Classifier
from variants.parts.networks.thirteen import ConvGenerator
from variants.parts.networks.triple import NORM, ConditionalGenerator
from variants.triple import Triple, TripleRecipe

K, PROGRESS = 3, torch.zeros(())
RNG = np.random.default_rng(0)
SMALL: dict[str, Any] = {
    "steps": 1, "network": "mlp", "classifier": (6, 5), "generator": (5, 4), "discriminator": (6, 5),
    "labelled_batch": 4, "unlabelled_batch": 5, "positive_labelled": 2, "positive_unlabelled": 7, "generated": 6,
    "pretrain_batch": 5,
}  # fmt: skip
WEIGHT = torch.from_numpy(RNG.normal(size=(K, 4)))  # of C's last layer
C_LAB, C_UNL, C_GEN = (RNG.normal(size=(n, K), scale=2) for n in (4, 5, 6))
D_UNL = RNG.normal(size=5, scale=2)
LABELS = np.array([2, 0, 1, 1])


def small(task: Task, **fields: Any) -> Triple:
    return Triple(task, TripleRecipe(**SMALL | fields))


def tiny_batch(task: Task) -> dict[str, Any]:
    rng = np.random.default_rng(3)

    def images(count: int) -> Tensor:
        return torch.from_numpy(rng.random((count, *task.image_shape)))

    return {
        "labelled": Examples(images(4), torch.from_numpy(LABELS)),
        "unlabelled": images(5),
        "positive_labelled": Examples(images(2), torch.tensor([1, 2])),
        "positive_unlabelled": images(7),
        "pretraining": images(5),
    }


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def bce1(d: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-d))


def bce0(d: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(d))


def common_terms() -> dict[str, float]:
    """The terms of L_C by the name of their weight, each without it."""
    p = softmax(C_UNL)
    return {
        "supervised": -np.log(softmax(C_LAB)[np.arange(4), LABELS]).mean(),
        "entropy_weight": -(p * np.log(p)).sum(1).mean(),
        "balance_weight": -np.log(p.mean(0)).mean(),
        "weight_decay": (WEIGHT.numpy() ** 2).sum(),
        "adversarial_weight": 0.5 * (p.max(1) * bce1(D_UNL)).mean(),
        "pseudo_weight": -np.log(softmax(C_GEN)[np.arange(6), [0, 1, 2, 0, 1, 2]]).mean(),
    }


def fake_nets(fake: Any, unlabelled: Tensor | None = None, discriminator: Any = None) -> SimpleNamespace:
    unlabelled = torch.from_numpy(C_UNL) if unlabelled is None else unlabelled
    answers = (torch.from_numpy(C_LAB), unlabelled, torch.from_numpy(C_GEN))
    return SimpleNamespace(
        classifier=fake(*answers, head__layers__0__weight=WEIGHT),
        discriminator=fake(torch.from_numpy(D_UNL) if discriminator is None else discriminator),
        generator=fake(torch.full((6, 1, 2, 3), 0.5, dtype=torch.float64)),
    )


# --- the discriminator ---


def test_discriminator_loss(tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    """One mean over both kinds of positives, and a half each for generated and for classified pairs."""
    guess_positive, guess_unlabelled = RNG.normal(size=(7, K)), RNG.normal(size=(5, K))
    d = RNG.normal(size=2 + 7 + 6 + 5, scale=2)
    nets = SimpleNamespace(
        classifier=fake(torch.from_numpy(guess_positive), torch.from_numpy(guess_unlabelled)),
        discriminator=fake(torch.from_numpy(d)),
        generator=fake(torch.full((6, 1, 2, 3), 0.5, dtype=torch.float64)),
    )
    batch = tiny_batch(tiny_task)
    loss, logs = small(tiny_task).discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    pos, gen, unl = d[:9], d[9:15], d[15:]
    assert loss.item() == pytest.approx(bce1(pos).mean() + 0.5 * bce0(gen).mean() + 0.5 * bce0(unl).mean())
    assert logs["real"].item() == pytest.approx(bce1(pos).mean())
    assert logs["generated"].item() == pytest.approx(bce0(gen).mean())
    assert logs["classified"].item() == pytest.approx(bce0(unl).mean())
    images, pairs, noise = nets.discriminator.calls[0]
    assert torch.equal(images[:9], torch.cat([batch["positive_labelled"].images, batch["positive_unlabelled"]]))
    assert images[9:15].unique().tolist() == [0.5]
    assert torch.equal(images[15:], batch["unlabelled"])
    hard = [1, 2, *guess_positive.argmax(1), 0, 1, 2, 0, 1, 2, *guess_unlabelled.argmax(1)]
    assert np.array_equal(pairs.numpy(), np.eye(K)[hard])  # hard one-hot labels everywhere
    assert noise is not None
    assert [call[1] is not None for call in nets.classifier.calls] == [True, True]  # C labels in training mode
    assert [options.get("update", False) for options in nets.classifier.options] == [False, False]


def test_all_labels_of_an_unlabelled_image_weighted_with_their_probabilities(
    tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    guess_positive, logits = RNG.normal(size=(7, K)), RNG.normal(size=(5, K))
    d = RNG.normal(size=2 + 7 + 6 + 5 * K, scale=2)
    nets = SimpleNamespace(
        classifier=fake(torch.from_numpy(guess_positive), torch.from_numpy(logits)),
        discriminator=fake(torch.from_numpy(d)),
        generator=fake(torch.full((6, 1, 2, 3), 0.5, dtype=torch.float64)),
    )
    batch, variant = tiny_batch(tiny_task), small(tiny_task, unlabelled_labels="all")
    loss, logs = variant.discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    each = (softmax(logits) * bce0(d[15:].reshape(5, K))).sum(1).mean()
    assert logs["classified"].item() == pytest.approx(each)
    assert loss.item() == pytest.approx(bce1(d[:9]).mean() + 0.5 * bce0(d[9:15]).mean() + 0.5 * each)
    images, pairs, _ = nets.discriminator.calls[0]
    for i in range(5):
        for k in range(K):
            assert torch.equal(images[15 + K * i + k], batch["unlabelled"][i])
            assert pairs[15 + K * i + k].tolist() == np.eye(K)[k].tolist()


def test_c_under_all_labels(tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    d = RNG.normal(size=5 * K, scale=2)
    logits = torch.from_numpy(C_UNL).clone().requires_grad_()
    nets = fake_nets(fake, logits, torch.from_numpy(d))
    variant = small(tiny_task, unlabelled_labels="all")
    _, logs = variant.classifier_loss(nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS, pseudo=False)
    p, cost = softmax(C_UNL), bce1(d.reshape(5, K))
    assert logs["adversarial"].item() == pytest.approx((p * cost).sum(1).mean())
    (gradient,) = torch.autograd.grad(logs["adversarial"], logits)
    assert gradient.numpy() == pytest.approx(p * (cost - (p * cost).sum(1, keepdims=True)) / 5)


def test_groups_of_pairs_are_judged_apart_under_minibatch_discrimination(
    tiny_task: Task, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    for kernels, apart in ((3, True), (0, False)):
        variant = small(tiny_task, minibatch_kernels=kernels)
        nets, groups = build_nets(variant), []
        x, y = torch.rand(4, 1, 2, 3, dtype=torch.float64), torch.eye(K, dtype=torch.float64)[[0, 1, 2, 0]]
        for others in (x, x + 1):
            groups.append(variant.judged(nets, recorded_noise(), [(x, y), (others, y)])[0])
        assert torch.equal(*groups)
        together = nets.discriminator(torch.cat([x, x + 1]), torch.cat([y, y]), recorded_noise())[:4]
        assert torch.allclose(groups[0], together) is not apart


@pytest.mark.parametrize("kind", [ConditionalGenerator, ConvGenerator])
def test_a_generated_pair_does_not_depend_on_its_batch_under_virtual_batch_norm(kind: Any) -> None:
    task = Task((3, 32, 32), K, (0.0, 1.0), 9, 30)
    variant = Triple(task, TripleRecipe(**SMALL, virtual_batch_norm=True))
    norm = variant.norm(NORM)
    widths = (6, 5, 4) if kind is ConvGenerator else (6, 5)
    net = variant.referenced(kind(task, widths, norm), norm).double()
    z, y = torch.rand(4, 100, dtype=torch.float64), torch.eye(K, dtype=torch.float64)[[0, 1, 2, 0]]
    assert net(z, y).shape == (4, 3, 32, 32)
    assert torch.allclose(net(z[1:2], y[1:2]), net(z, y)[1:2])
    plain = kind(task, widths).double()
    assert not torch.allclose(plain(z[:3], y[:3]), plain(z, y)[:3])


def test_discriminator_loss_at_chance(tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    """d = 0 everywhere: log 2 + log 2 / 2 + log 2 / 2."""
    nets = SimpleNamespace(
        classifier=fake(torch.zeros(7, K), torch.zeros(5, K)),
        discriminator=fake(torch.zeros(20)),
        generator=fake(torch.zeros(6, 1, 2, 3)),
    )
    loss, _ = small(tiny_task).discriminator_loss(nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(2 * np.log(2), rel=1e-6)


def test_no_gradient_of_the_discriminator_loss_goes_through_the_guesses(
    tiny_task: Task, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    variant = small(tiny_task)
    nets = build_nets(variant)
    variant.discriminator_loss(nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS)[0].backward()
    assert all(p.grad is None for p in nets.classifier.module.parameters())
    assert all(p.grad is not None for p in nets.discriminator.module.parameters())


# --- the generator ---


def test_generator_loss(tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    d = RNG.normal(size=6, scale=2)
    nets = SimpleNamespace(
        discriminator=fake(torch.from_numpy(d)), generator=fake(torch.zeros(6, 1, 2, 3, dtype=torch.float64))
    )
    loss, _ = small(tiny_task).generator_loss(nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS)
    assert loss.item() == pytest.approx(0.5 * bce1(d).mean())
    pairs = np.eye(K)[[0, 1, 2, 0, 1, 2]]
    z, y, _ = nets.generator.calls[0]
    assert np.array_equal(y.numpy(), pairs)
    assert np.array_equal(nets.discriminator.calls[0][1].numpy(), pairs)  # D judges them with the labels asked for
    assert z.shape == (6, 100)


def test_generated_labels_are_balanced(mnist_task: Callable[[int], Task], fake: Any, recorded_noise: Any) -> None:
    variant = Triple(mnist_task(100), Triple.recipe_for("paper", "mnist", "grey"))
    nets = SimpleNamespace(generator=fake(torch.zeros(200, 1, 28, 28)))
    _, labels = variant.fakes(nets, recorded_noise(), torch.zeros(1))
    assert np.bincount(labels.numpy()).tolist() == [20] * 10


# --- the classifier ---


@pytest.mark.parametrize("pseudo", [False, True])
def test_classifier_loss(pseudo: bool, tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    """All six terms with the paper's weights."""
    nets, batch = fake_nets(fake), tiny_batch(tiny_task)
    loss, logs = small(tiny_task).classifier_loss(nets, batch, recorded_noise(), {}, PROGRESS, pseudo=pseudo)
    term = common_terms()
    expected = term["supervised"] + 0.3 * term["entropy_weight"] + 1e-3 * term["balance_weight"]
    expected += 1e-4 * term["weight_decay"] + term["adversarial_weight"] + 0.1 * pseudo * term["pseudo_weight"]
    assert loss.item() == pytest.approx(expected)
    assert logs["entropy"].item() == pytest.approx(term["entropy_weight"])
    assert logs["balance"].item() == pytest.approx(term["balance_weight"])
    assert logs["adversarial"].item() == pytest.approx(2 * term["adversarial_weight"])
    assert ("pseudo" in logs) == pseudo
    assert len(nets.generator.calls) == pseudo  # not even computed before
    images, guess, _ = nets.discriminator.calls[0]
    assert images is batch["unlabelled"]
    assert np.array_equal(guess.numpy(), np.eye(K)[C_UNL.argmax(1)])
    assert [options.get("update", False) for options in nets.classifier.options[:2]] == [False, True]


@pytest.mark.parametrize(
    "field", ["entropy_weight", "balance_weight", "weight_decay", "adversarial_weight", "pseudo_weight"]
)
def test_each_weight_weighs_its_own_term(
    field: str, tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    losses = []
    for weight in (0.0, 0.75):
        variant = small(tiny_task, **{field: weight})
        args = fake_nets(fake), tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS
        losses.append(variant.classifier_loss(*args, pseudo=True)[0].item())
    assert losses[1] - losses[0] == pytest.approx(0.75 * common_terms()[field])


@pytest.mark.parametrize("unlabelled_labels", ["argmax", "all"])
def test_saturating_changes_the_adversarial_term_alone(
    unlabelled_labels: Any, tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    """p log(1 - D) in place of -p log D."""
    everything = RNG.normal(size=5 * K) if unlabelled_labels == "all" else RNG.normal(size=5)
    logs = []
    for saturating in (False, True):
        variant = small(tiny_task, saturating=saturating, unlabelled_labels=unlabelled_labels)
        nets = fake_nets(fake, None, torch.from_numpy(everything))
        args = nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS
        logs.append(variant.classifier_loss(*args, pseudo=False)[1])
    p = softmax(C_UNL) if unlabelled_labels == "all" else softmax(C_UNL).max(1, keepdims=True)
    d = everything.reshape(p.shape)
    assert logs[0].pop("adversarial").item() == pytest.approx((p * bce1(d)).sum(1).mean())
    assert logs[1].pop("adversarial").item() == pytest.approx(-(p * bce0(d)).sum(1).mean())
    assert logs[0] == logs[1]


def test_pretraining_loss(tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    """Without D and G, with its own weight of the balance term, on images of its own."""
    nets, batch = fake_nets(fake), tiny_batch(tiny_task)
    loss, _ = small(tiny_task).pretraining_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    term = common_terms()
    expected = term["supervised"] + 0.3 * term["entropy_weight"] + 0.3 * term["balance_weight"]
    assert loss.item() == pytest.approx(expected + 1e-4 * term["weight_decay"])
    assert nets.classifier.calls[1][0] is batch["pretraining"]
    assert nets.discriminator.calls == nets.generator.calls == []


def test_adversarial_term_reaches_c_through_its_confidence_only(
    tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    """d/dl_j of max_k p_k = p_k (delta_jk - p_j), times -log D / 2, with D and its label held fixed."""
    leaf = torch.from_numpy(C_UNL.copy()).requires_grad_()
    slope = torch.arange(1.0, K + 1, dtype=torch.float64)

    def judge(images: Tensor, labels: Tensor, noise: Any) -> Tensor:  # would pass a gradient to a soft label
        return (labels * slope).sum(1) - images.flatten(1).sum(1)

    def adversarial(logits: Tensor) -> Tensor:
        weights = {"entropy_weight": 0.0, "balance_weight": 0.0, "weight_decay": 0.0}
        nets = fake_nets(fake, logits, judge)
        variant = small(tiny_task, **weights)
        return variant.classifier_loss(nets, tiny_batch(tiny_task), recorded_noise(), {}, PROGRESS, pseudo=False)[0]

    adversarial(leaf).backward()
    p, k = softmax(C_UNL), C_UNL.argmax(1)
    d = slope.numpy()[k] - tiny_batch(tiny_task)["unlabelled"].flatten(1).sum(1).numpy()
    confidence = p.max(1)[:, None] * (np.eye(K)[k] - p)
    assert leaf.grad is not None
    assert leaf.grad.numpy() == pytest.approx(0.5 * bce1(d)[:, None] * confidence / 5)
    numerical = np.zeros_like(C_UNL)
    for index in np.ndindex(C_UNL.shape):
        step = np.zeros_like(C_UNL)
        step[index] = 1e-6
        up, down = (adversarial(torch.from_numpy(C_UNL + s * step)).item() for s in (1, -1))
        numerical[index] = (up - down) / 2e-6
    assert leaf.grad.numpy() == pytest.approx(numerical, abs=1e-8)


def test_weight_decay_acts_on_the_last_layer(tiny_task: Task) -> None:
    """|W|^2; under weight norm W's rows have length g, so it is the sum of g^2."""
    for head in (Linear(4, K), WeightNormLinear(4, K, train_scale=True)):
        stack = Stack(head) if isinstance(head, Linear) else Stack(torch.nn.Identity(), head)
        net = Classifier(Stack(), stack).double()
        with torch.no_grad():
            for value in head.parameters():
                value.copy_(torch.rand_like(value) + 0.5)
        if isinstance(head, Linear):
            weight = head.weight.detach().numpy()
        else:
            v = head.direction.detach().numpy()
            weight = v * (head.scale.detach().numpy() / np.sqrt((v**2).sum(1) + 1e-6))[:, None]
        assert last_layer_norm(dict(net.named_parameters())).item() == pytest.approx((weight**2).sum(), rel=1e-5)


def test_losses_of_real_networks(
    tiny_task: Task, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    """From images to L_C with the perceptron, the pair discriminator and the conditional generator."""
    variant = small(tiny_task)
    nets, noise, batch = build_nets(variant), recorded_noise(), tiny_batch(tiny_task)
    loss, _ = variant.classifier_loss(nets, batch, noise.fork(), {}, PROGRESS, pseudo=True)
    c_lab = nets.classifier(batch["labelled"].images, noise).detach().numpy()
    c_unl = nets.classifier(batch["unlabelled"], noise).detach().numpy()
    guess = torch.from_numpy(np.eye(K)[c_unl.argmax(1)])
    d = nets.discriminator(batch["unlabelled"], guess, noise).detach().numpy()
    y = np.array([0, 1, 2, 0, 1, 2])
    fakes = nets.generator(noise.uniform(6, 100), torch.from_numpy(np.eye(K)[y]), noise)
    c_gen = nets.classifier(fakes, noise).detach().numpy()
    p = softmax(c_unl)
    scale = nets.classifier.tensors["head.layers.1.scale"].detach().numpy()
    expected = -np.log(softmax(c_lab)[np.arange(4), LABELS]).mean() - 0.3 * (p * np.log(p)).sum(1).mean()
    expected += -1e-3 * np.log(p.mean(0)).mean() + 1e-4 * (scale**2).sum() + 0.5 * (p.max(1) * bce1(d)).mean()
    expected += -0.1 * np.log(softmax(c_gen)[np.arange(6), y]).mean()
    assert loss.item() == pytest.approx(expected)


def test_in_cs_step_neither_generator_nor_discriminator_get_a_gradient(digits: Dataset) -> None:
    """As the trainer runs it: C's loss depends on both networks, but moves C alone."""
    fields = SMALL | {"pretrain_epochs": 0, "initial_batch": 50}
    variant = Triple(Task((1, 8, 8), 10, (0.0, 1.0), 20, 1277), TripleRecipe(**fields))
    split = make_split(digits, seed=0, budget=20, selection="balanced")
    trainer = Trainer(variant, digits, [split], [0], 1, torch.device("cpu"))
    batch = trainer.batches.next(1)
    tape = record(trainer.generators, Lengths(20_000, 20_000), torch.device("cpu"))
    loss = trainer.schedule.phases[1].players[2].loss
    trainer.executor.losses(loss, frozenset({"classifier"}), batch, tape, {}, PROGRESS)
    gradients = {name: net.gradient.abs().max().item() for name, net in trainer.networks.items()}
    assert gradients["classifier"] > 0
    assert gradients["generator"] == gradients["discriminator"] == 0


# --- draws ---


@pytest.mark.parametrize(
    ("labels", "l_c", "u_c", "l_d"), [(20, 20, 500, 1), (50, 50, 200, 1), (100, 100, 100, 1), (200, 100, 100, 2)]
)
def test_batch_sizes_of_the_paper(labels: int, l_c: int, u_c: int, l_d: int, mnist_task: Callable[[int], Task]) -> None:
    variant = Triple(mnist_task(labels), Triple.recipe_for("paper", "mnist", "grey"))
    pretraining = {"pretraining": (500, "all")} if labels <= 100 else {}  # none above 100 labels
    assert {name: (d.size, d.pool) for name, d in variant.draws().items()} == {
        "labelled": (l_c, "labelled"),
        "unlabelled": (u_c, "all"),
        "positive_labelled": (l_d, "labelled"),
        "positive_unlabelled": (400, "all"),
        **pretraining,
    }
    assert variant.recipe.generated == 200


def test_the_pool_may_leave_the_labelled_images_out(tiny_task: Task) -> None:
    pools = {name: d.pool for name, d in small(tiny_task, labelled_in_pool=False).draws().items()}
    assert pools == {
        "labelled": "labelled", "positive_labelled": "labelled", "unlabelled": "unlabelled",
        "positive_unlabelled": "unlabelled", "pretraining": "unlabelled",
    }  # fmt: skip


# --- phases ---


@pytest.mark.parametrize(
    ("labels", "main", "before"), [(20, 120_000, 3600), (50, 300_000, 3600), (100, 600_000, 3600), (200, 600_000, 0)]
)
def test_schedule_of_the_paper(labels: int, main: int, before: int, mnist_task: Callable[[int], Task]) -> None:
    """1,000 epochs of 60,000 / u_c steps, 30 epochs of pre-training with batches of 500 up to 100 labels."""
    variant = Triple(mnist_task(labels), Triple.recipe_for("paper", "mnist", "grey"))
    assert variant.steps() == main + before
    phases = variant.phases()
    total = sum(phase.share for phase in phases)
    assert [phase.share / total * (main + before) for phase in phases] == pytest.approx(
        [before, 0.3 * main, 0.7 * main]
    )
    assert [phase.name for phase in phases] == ["pretraining", "main", "pseudo-labels"]
    assert [[p.name for p in phase.players] for phase in phases] == [
        ["pretraining"], ["discriminator", "generator", "classifier"], ["discriminator", "generator", "classifier"]
    ]  # fmt: skip
    assert [phase.fresh for phase in phases] == [frozenset(), frozenset(), frozenset({"classifier"})]


def test_players_of_the_paper(mnist_task: Callable[[int], Task]) -> None:
    phases = Triple(mnist_task(100), Triple.recipe_for("paper", "mnist", "grey")).phases()
    (pretraining,) = phases[0].players
    assert (pretraining.lr, pretraining.optimiser, pretraining.ema) == (3e-4, Adam((0.9, 0.999)), Ema(0.99))
    assert pretraining.networks == ("classifier",)
    for phase in phases[1:]:
        assert [player.networks for player in phase.players] == [("discriminator",), ("generator",), ("classifier",)]
        assert [player.ema for player in phase.players] == [None, None, Ema(0.99)]
        for player in phase.players:
            assert (player.lr, player.optimiser) == (1e-3, Adam((0.5, 0.999), 1e-8, False))
    assert [phase.players[2].loss.keywords["pseudo"] for phase in phases[1:]] == [False, True]


@pytest.mark.parametrize("labels", [100, 200])
def test_learning_rate_falls_by_0_995_per_epoch_of_the_last_700(labels: int, mnist_task: Callable[[int], Task]) -> None:
    variant = Triple(mnist_task(labels), Triple.recipe_for("paper", "mnist", "grey"))
    total, before = variant.steps(), 3600 if labels == 100 else 0
    schedule = variant.phases()[1].players[0].schedule
    for epoch, factor in [(0, 1.0), (299, 1.0), (300, 1.0), (301, 0.995), (500, 0.995**200), (1000, 0.995**700)]:
        assert schedule((before + 600 * epoch) / total) == pytest.approx(factor)
    assert 1e-3 * schedule(1.0) == pytest.approx(3.0e-5, rel=0.01)  # the published final rate
    assert variant.phases()[0].players[0].schedule(0.001) == 1.0


def test_steps_set_the_whole_length_and_pretraining_leaves_one_for_the_rest(tiny_task: Task) -> None:
    variant = small(tiny_task, steps=50, pretrain_epochs=4)
    assert variant.steps() == 50
    assert variant.phases()[0].share == 4 * 7  # 36 images in batches of 5
    assert small(tiny_task, steps=10, pretrain_epochs=4).phases()[0].share == 9
    assert small(tiny_task, steps=1, pretrain_epochs=4).phases()[0].share == 0


def test_perceptron_is_initialised_on_images_and_the_convolutions_are_not(tiny_task: Task) -> None:
    assert {name: (d.size, d.pool) for name, d in small(tiny_task).initial_draws().items()} == {"images": (500, "all")}
    assert small(tiny_task, network="conv").initial_draws() == {}
