"""The loop: whose turn it is, what it carries along, what it marks, and whom it asks for test labels."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.datasets import Dataset, Examiner
from bench.streams import torch_generator
from bench.training.state import load_run_states, run_states
from bench.training.trainer import Trainer
from bench.variant import Adam, Draw, Ema, Phase, Player, Recipe, Variant

MakeTrainer = Callable[..., Trainer]


class Weight(nn.Module):
    """One number, and the network's own copy of it per class."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :10] * 0 + self.w


class Scripted(Variant):
    """Two networks with one number each. Derived classes say who plays; a gradient is whatever `slopes` says."""

    name = "scripted"
    recipe_type = Recipe
    recipes = {"common": {"grey": Recipe(steps=4)}}

    def networks(self) -> Mapping[str, Callable[[], nn.Module]]:
        return {"a": Weight, "b": Weight}

    def draws(self) -> Mapping[str, Draw]:
        return {"labelled": Draw(2, "labelled", "tiled")}

    def classify(self, nets: Any, images: Tensor) -> Tensor:
        return nets.a(images)


def pull(network: str, slope: float = 1.0) -> Callable[..., Any]:
    """A loss that is linear in the network's number."""

    def loss(nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
        return slope * getattr(nets, network).tensors["w"].sum(), {}

    return loss


def value(trainer: Trainer, network: str) -> list[float]:
    return trainer.networks[network].parameters["w"][:, 0].tolist()


def steps(trainer: Trainer, count: int) -> Trainer:
    for _ in range(count):
        trainer.step()
    return trainer


def classes_of_toy(trainer: Trainer, run: int, averaged: bool, images: Tensor) -> np.ndarray:
    """The toy classifier's predictions in NumPy: batch norm with running statistics, then a linear layer."""
    source = trainer.averages["classifier"] if averaged else trainer.networks["classifier"]
    parameters = trainer.averages["classifier"].parameters() if averaged else trainer.networks["classifier"].parameters
    p = {name: v[run].numpy().astype(np.float64) for name, v in {**parameters, **source.buffers}.items()}
    x = images.numpy().reshape(len(images), 64) / 16.0
    x = (x - p["norm.running_mean"]) / np.sqrt(p["norm.running_var"] + 1e-5) * p["norm.gain"] + p["norm.shift"]
    return (x @ p["linear.weight"].T + p["linear.bias"]).argmax(1)


# --- turns ---


def test_every_and_repeat(make_trainer: MakeTrainer) -> None:
    """With a constant gradient Adam moves by lr per update: b has 2 updates at steps 0, 3, 6."""

    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            often, seldom = pull("a"), pull("b")
            return (
                Phase(
                    "main", 1, (Player("a", ("a",), often, 0.1), Player("b", ("b",), seldom, 0.1, every=3, repeat=2))
                ),
            )

    trainer = steps(make_trainer(V, steps=7), 7)
    assert value(trainer, "a") == pytest.approx([-0.7], rel=1e-4)
    assert value(trainer, "b") == pytest.approx([-0.6], rel=1e-4)
    assert trainer.logs.counts["b/loss"] == 6


def test_repeated_updates_draw_fresh_noise(make_trainer: MakeTrainer) -> None:
    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            return (Phase("main", 1, (Player("a", ("a",), self.loss, 0.1, repeat=2),)),)

        def loss(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
            drawn = noise.normal(1)
            return nets.a.tensors["w"].sum(), {"drawn": drawn[0], "square": drawn[0].square()}

    trainer = steps(make_trainer(V, steps=1), 1)
    mean, square = trainer.logs.totals["a/drawn"][0].item() / 2, trainer.logs.totals["a/square"][0].item() / 2
    assert square - mean**2 > 1e-6  # two different numbers


def test_players_move_in_order_and_see_each_others_updates(make_trainer: MakeTrainer) -> None:
    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            return (Phase("main", 1, (Player("a", ("a",), pull("a"), 0.1), Player("b", ("b",), self.watch, 0.1))),)

        def watch(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
            return nets.b.tensors["w"].sum(), {"a": nets.a.tensors["w"].sum()}

    trainer = steps(make_trainer(V, steps=1), 1)
    assert trainer.logs.totals["b/a"].tolist() == pytest.approx([-0.1], rel=1e-4)


def test_two_players_that_share_a_network_keep_their_own_moments(make_trainer: MakeTrainer) -> None:
    """Gradients 1 and -1 in turns: with shared moments they would cancel to almost nothing."""

    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            down = Player("down", ("a",), pull("a"), 0.1, Adam((0.9, 0.999)))
            up = Player("up", ("a",), pull("a", -1.0), 0.03, Adam((0.9, 0.999)))
            return (Phase("main", 1, (down, up)),)

    trainer = steps(make_trainer(V, steps=5), 5)
    assert value(trainer, "a") == pytest.approx([5 * (-0.1 + 0.03)], rel=1e-4)


def test_a_player_of_two_networks_moves_both(make_trainer: MakeTrainer) -> None:
    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            return (Phase("main", 1, (Player("both", ("a", "b"), self.loss, 0.1),)),)

        def loss(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
            return nets.a.tensors["w"].sum() - nets.b.tensors["w"].sum(), {}

    trainer = steps(make_trainer(V, (0, 1), steps=2), 2)
    assert (value(trainer, "a"), value(trainer, "b")) == (pytest.approx([-0.2] * 2), pytest.approx([0.2] * 2))


@pytest.mark.parametrize(("fresh", "expected"), [(True, -0.1), (False, 0.0)])
def test_optimiser_state_is_carried_to_the_next_phase_unless_fresh(
    fresh: bool, expected: float, make_trainer: MakeTrainer
) -> None:
    """First gradient 1, then 0 with beta1 = beta2 = 0.9: only remembered moments still move the weight."""

    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            adam = Adam((0.9, 0.9))
            first, second = Player("a", ("a",), pull("a"), 0.1, adam), Player("a", ("a",), pull("a", 0.0), 0.1, adam)
            return (Phase("one", 1, (first,)), Phase("two", 1, (second,), frozenset({"a"} if fresh else ())))

    after = value(steps(make_trainer(V, steps=2), 2), "a")[0]
    if fresh:
        assert after == pytest.approx(expected, rel=1e-4)
    else:
        m, v = 0.09 / (1 - 0.81), 0.09 / (1 - 0.81)
        assert after == pytest.approx(-0.1 - 0.1 * m / np.sqrt(v), rel=1e-4)


def test_learning_rate_follows_the_progress_of_the_whole_training(make_trainer: MakeTrainer) -> None:
    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            player = Player("a", ("a",), pull("a"), 1.0, schedule=lambda progress: progress)
            return (Phase("one", 1, (player,)), Phase("two", 3, (player,)))

    trainer = steps(make_trainer(V, steps=4), 4)
    assert value(trainer, "a") == pytest.approx([-(0 + 0.25 + 0.5 + 0.75)], rel=1e-4)


def test_losses_see_the_progress(make_trainer: MakeTrainer) -> None:
    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            return (Phase("main", 1, (Player("a", ("a",), self.loss, 0.1),)),)

        def loss(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Tensor) -> Any:
            return nets.a.tensors["w"].sum(), {"progress": progress}

    trainer = make_trainer(V, (0, 1), steps=4, evaluations=4)
    trainer.train()
    assert [log["a/progress"] for log in trainer.curves.logs] == [[x, x] for x in (0.0, 0.25, 0.5, 0.75)]


# --- what is carried along ---


def test_state_that_a_loss_returns_is_carried(make_trainer: MakeTrainer) -> None:
    class V(Scripted):
        def state(self) -> Mapping[str, Tensor]:
            return {"total": torch.zeros(()), "kept": torch.ones(2)}

        def phases(self) -> tuple[Phase, ...]:
            return (Phase("main", 1, (Player("a", ("a",), self.loss, 0.1), Player("b", ("b",), self.read, 0.1))),)

        def loss(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
            return nets.a.tensors["w"].sum(), {}, {"total": state["total"] + batch["labelled"].labels.sum()}

        def read(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
            return nets.b.tensors["w"].sum(), {"total": state["total"]}

    trainer = make_trainer(V, (0, 1), steps=5, evaluations=1)
    expected = np.zeros(2)
    running = np.zeros(2)
    for _ in range(5):
        trainer.step()
        chosen = trainer.batches.block["labelled/labels"][trainer.at - 1].numpy()
        running += chosen.sum(1)
        expected += running
    assert trainer.state["total"].tolist() == running.tolist()
    assert trainer.state["kept"].tolist() == [[1, 1], [1, 1]]
    assert trainer.logs.totals["b/total"].tolist() == expected.tolist()  # the second player of a step sees it at once


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_saved_trainer_goes_on_bit_for_bit(at: int, toy: type[Any], make_trainer: MakeTrainer) -> None:
    class V(toy):  # type: ignore[misc, valid-type]
        def phases(self) -> tuple[Phase, ...]:
            (main,) = super().phases()
            return (main, dataclasses.replace(main, name="second", fresh=frozenset({"classifier"})))

    whole, first, second = (make_trainer(V, (0, 1), steps=6, evaluations=3) for _ in range(3))
    whole.train()
    while first.at < at:
        first.step()
        if first.at in first.schedule.evaluations:
            first.evaluate()
    load_run_states(second, run_states(first))
    second.train()
    for name, net in whole.networks.items():
        assert torch.equal(net.flat, second.networks[name].flat)
    assert torch.equal(whole.averages["classifier"].flat, second.averages["classifier"].flat)
    assert whole.curves.errors == second.curves.errors
    assert whole.curves.logs == second.curves.logs
    assert [s.labelled.touched for s in whole.splits] == [s.labelled.touched for s in second.splits]


def test_historical_averaging_pulls_towards_the_mean_of_all_weights_so_far(make_trainer: MakeTrainer) -> None:
    """The loss pulls a down; with so strong a pull to the past, Adam's sign of the sum turns round."""

    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            a = Player("a", ("a",), pull("a", 0.1), 0.1, Adam((0.0, 0.0)), historical_weight=0.3)
            return (Phase("main", 1, (a, Player("b", ("b",), pull("b", 0.1), 0.1, Adam((0.0, 0.0))))),)

    trainer = make_trainer(V, (0, 1), steps=6)
    weights, path = [0.0], []
    for _ in range(6):
        gradient = 0.1 + 2 * 0.3 * (weights[-1] - np.mean(weights))
        weights.append(weights[-1] - 0.1 * np.sign(gradient))
        trainer.step()
        path.append(value(trainer, "a"))
    assert path == [pytest.approx([w, w], rel=1e-4) for w in weights[1:]]
    assert len(set(np.sign(np.diff(weights)))) == 2
    assert value(trainer, "b") == pytest.approx([-0.6, -0.6], rel=1e-4)


def test_a_saved_trainer_remembers_the_past(make_trainer: MakeTrainer) -> None:
    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            return (Phase("main", 1, (Player("a", ("a",), pull("a", 0.1), 0.1, historical_weight=0.3),)),)

    whole, first, second = (make_trainer(V, (0, 1), steps=6) for _ in range(3))
    steps(whole, 6)
    load_run_states(second, run_states(steps(first, 3)))
    assert value(steps(second, 3), "a") == value(whole, "a")


# --- averages and evaluation ---


def test_averages_are_updated_after_the_players_own_steps(make_trainer: MakeTrainer) -> None:
    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            a = Player("a", ("a",), pull("a"), 0.1, ema=Ema(0.5))
            return (Phase("main", 1, (a, Player("b", ("b",), pull("b"), 0.1))),)

    trainer = steps(make_trainer(V, steps=3), 3)
    assert list(trainer.averages) == ["a"]
    expected = 0.0
    for theta in (-0.1, -0.2, -0.3):
        expected = 0.5 * expected + 0.5 * theta
    assert trainer.averages["a"].parameters()["w"][0, 0].item() == pytest.approx(expected, rel=1e-4)


def test_a_variant_without_averages_has_raw_errors_only(toy: type[Any], make_trainer: MakeTrainer) -> None:
    class V(toy):  # type: ignore[misc, valid-type]
        ema = None

    trainer = make_trainer(V, steps=2)
    trainer.train()
    assert list(trainer.curves.run(0)[0]) == ["raw"]


def test_a_first_phase_without_averages_still_gives_whole_curves(toy: type[Any], make_trainer: MakeTrainer) -> None:
    """Before the average exists its errors are those of the weights: every list has one number per evaluation."""

    class V(toy):  # type: ignore[misc, valid-type]
        def phases(self) -> tuple[Phase, ...]:
            (main,) = super().phases()
            bare = tuple(dataclasses.replace(player, ema=None) for player in main.players)
            return (Phase("before", 1.0, bare), main)

    trainer = make_trainer(V, steps=4, evaluations=4)
    trainer.train()
    errors, _ = trainer.curves.run(0)
    assert len(errors["raw"]) == len(errors["ema"]) == 4
    assert errors["ema"][:2] == errors["raw"][:2]


def test_errors_are_counted_with_raw_and_averaged_weights(
    toy: type[Any], make_trainer: MakeTrainer, digits: Dataset
) -> None:
    trainer = make_trainer(toy, (0, 1), steps=20, evaluations=2)
    trainer.train()
    assert trainer.curves.steps == [10, 20]
    truth = digits.examiner._labels.numpy()
    for run in range(2):
        errors = trainer.curves.run(run)[0]
        assert errors["raw"][-1] == (classes_of_toy(trainer, run, False, digits.test_images) != truth).sum()
        assert errors["ema"][-1] == (classes_of_toy(trainer, run, True, digits.test_images) != truth).sum()


@pytest.mark.parametrize("batch", [7, 500])
def test_evaluation_batches_change_no_count(
    batch: int, toy: type[Any], make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = make_trainer(toy, steps=2)
    monkeypatch.setattr(toy, "evaluation_batch", batch)
    assert make_trainer(toy, steps=2).evaluator.test(False) == reference.evaluator.test(False)


def test_test_images_limits_the_test(toy: type[Any], make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(toy, steps=2, test_images=17)
    assert trainer.evaluator.logits(False).shape == (1, 17, 10)
    assert len(make_trainer(toy, steps=2, test_images=10_000).evaluator.test_images) == 500


def test_validation_errors_are_each_runs_own(toy: type[Any], make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(toy, (0, 1), steps=10, validation=30)
    trainer.train()
    for run, split in enumerate(trainer.splits):
        errors = trainer.curves.run(run)[0]
        assert set(errors) == {"raw", "ema", "validation_raw", "validation_ema"}
        assert split.validation is not None
        images = trainer.images[torch.from_numpy(split.validation_indices)]
        truth = split.validation._labels.numpy()
        for kind, averaged in (("validation_raw", False), ("validation_ema", True)):
            assert errors[kind][-1] == (classes_of_toy(trainer, run, averaged, images) != truth).sum()


def test_logs_are_means_since_the_last_evaluation(make_trainer: MakeTrainer) -> None:
    """w = 0, -0.1, -0.2, -0.3 at the four updates."""

    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            return (Phase("main", 1, (Player("a", ("a",), pull("a"), 0.1),)),)

    trainer = make_trainer(V, steps=4, evaluations=2)
    trainer.train()
    assert trainer.curves.run(0)[1]["a/loss"] == pytest.approx([-0.05, -0.25], rel=1e-4)


# --- divergence ---


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_marks_its_run_with_the_step(bad: float, make_trainer: MakeTrainer) -> None:
    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            return (Phase("main", 1, (Player("a", ("a",), self.loss, 0.1),)),)

        def state(self) -> Mapping[str, Tensor]:
            return {"step": torch.zeros(())}

        def loss(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Any) -> Any:
            loss = nets.a.tensors["w"].sum()
            broken = loss.detach() + bad
            return torch.where(state["step"] == 3, broken, loss), {}, {"step": state["step"] + 1}

    trainer = make_trainer(V, (0, 1), steps=6)
    trainer.state["step"][1] = 2.0  # the second run is two steps ahead
    trainer.train()
    assert trainer.diverged_at.tolist() == [3, 1]


def test_weights_that_are_not_finite_mark_their_run_at_the_evaluation(
    toy: type[Any], make_trainer: MakeTrainer
) -> None:
    trainer = make_trainer(toy, (0, 1, 2), steps=4, evaluations=2)
    trainer.networks["other"].parameters["linear.weight"][1, 0, 0] = float("inf")
    steps(trainer, 2).evaluate()
    assert trainer.diverged_at.tolist()[0] == trainer.diverged_at.tolist()[2] == -1
    assert 0 <= trainer.diverged_at.tolist()[1] <= 2


def test_a_healthy_run_is_not_marked(toy: type[Any], make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(toy, (0,), steps=4)
    trainer.train()
    assert trainer.diverged_at.tolist() == [-1]


# --- labels ---


def test_labels_touched_are_the_labels_that_steps_have_shown(toy: type[Any], make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(toy, steps=3, budget=100)  # batches of 6, each label once per pass
    trainer.train()
    assert trainer.splits[0].labelled.touched == 18
    all_of_them = make_trainer(toy, steps=4, budget=20)
    all_of_them.train()
    assert all_of_them.splits[0].labelled.touched == 20


class Spy:
    """Stands for the test labels: answers predictions, and nothing else."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[int, ...]] = Counter()

    def wrong(self, predictions: Tensor) -> Tensor:
        assert predictions.dtype == torch.int64
        self.asked[tuple(predictions.shape)] += 1
        return torch.full((len(predictions),), 7)


def test_test_labels_meet_predictions_and_nothing_else(
    toy: type[Any], make_trainer: MakeTrainer, digits: Dataset
) -> None:
    spy = Spy()
    trainer = make_trainer(toy, (0, 1), steps=4, evaluations=2, dataset=dataclasses.replace(digits, examiner=spy))
    trainer.train()
    assert spy.asked == {(2, 500): 4}  # raw and averaged, twice
    assert trainer.curves.run(0)[0]["raw"] == [7, 7]


def test_test_labels_move_no_bit_of_the_training(toy: type[Any], make_trainer: MakeTrainer, digits: Dataset) -> None:
    swapped = Examiner(9 - digits.examiner._labels.numpy())
    flats = []
    for examiner in (digits.examiner, swapped):
        trainer = make_trainer(toy, steps=4, evaluations=4, dataset=dataclasses.replace(digits, examiner=examiner))
        trainer.train()
        flats.append(trainer.networks["classifier"].flat)
    assert torch.equal(*flats)


# --- initialisation ---


def test_data_dependent_initialisation_sees_its_own_draws_and_runs_once(make_trainer: MakeTrainer) -> None:
    """The dry pass that measures the noise leaves no trace, and further networks and draws change nothing."""

    class V(Scripted):
        def phases(self) -> tuple[Phase, ...]:
            return (Phase("main", 1, (Player("a", ("a",), pull("a"), 0.1),)),)

        def initial_draws(self) -> Mapping[str, Draw]:
            return {"images": Draw(11, "all"), "labelled": Draw(3, "labelled", "tiled")}

        def initialise(self, nets: Any, batch: Any, noise: Any) -> None:
            assert batch["images"].shape == (11, 1, 8, 8)
            assert batch["labelled"].labels.shape == (3,)
            with torch.no_grad():
                nets.a.w.add_(batch["images"].mean() + noise.normal(1)[0])

    trainer = make_trainer(V, (0, 1), steps=1)
    for run, seed in enumerate((0, 1)):
        order = torch.randperm(1297, generator=torch_generator("cpu", seed, "batches", "initial/images"))[:11]
        mean = trainer.dataset.scale(trainer.images[order]).mean().item()
        drawn = torch.randn(16, generator=torch_generator("cpu", seed, "noise", "initial"))[0].item()
        assert value(trainer, "a")[run] == pytest.approx(mean + drawn, rel=1e-5)
    assert value(trainer, "b") == [0, 0]
