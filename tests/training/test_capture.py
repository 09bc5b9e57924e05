"""Captured steps, with an emulation of CUDA graphs: replays do to the bit what the steps themselves would do."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.conformance.cases import CPU, Case, cases
from bench.streams import torch_generator
from bench.training import optimiser
from bench.training.batches import Batches
from bench.training.capture import WARM_UP, Captured
from bench.training.executor import LoopExecutor, VmapExecutor
from bench.training.state import load_run_states, run_states
from bench.training.trainer import Trainer
from bench.variant import SGD, Adam, Ema, Phase, Player

MakeTrainer = Callable[..., Trainer]
STEPS = 14
ALWAYS = {("fm", 0), ("triple", 0), ("sgan", 0)}  # variants and their recipes that are tried every time


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two trees of run states have other bits; the seconds may differ."""
    if isinstance(one, Tensor):
        if (one.dtype, one.shape, one.numpy().tobytes()) != (other.dtype, other.shape, other.numpy().tobytes()):
            yield path
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys(), path
        for key in one.keys() - {"seconds"}:
            yield from differences(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, Sequence) and not isinstance(one, str):
        assert len(one) == len(other), path
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{path}/{index}")
    elif repr(one) != repr(other):
        yield path


def trained(trainer: Trainer) -> Trainer:
    trainer.train()
    return trainer


def differ(one: Trainer, other: Trainer) -> list[str]:
    return list(differences(run_states(trained(one)), run_states(trained(other))))


# --- the variants ---

CASES = [
    pytest.param(name, recipe, marks=() if (name, recipe) in ALWAYS else pytest.mark.slow)
    for name in registry.names()
    for recipe in range(len(registry.get(name).recipes))
]


@pytest.mark.parametrize(("name", "recipe"), CASES)
def test_replays_equal_steps(name: str, recipe: int, emulation: ModuleType) -> None:
    """And the step neither waits for the device nor copies to or from it: such a one could not be captured."""

    def make(case: Case, graphs: Any) -> Trainer:
        trainer = Trainer(case.variant(), case.dataset, case.splits(case.seeds), case.seeds, STEPS, CPU, graphs=graphs)
        trainer.executor = trainer.evaluator.executor = VmapExecutor(trainer.networks, math.inf)  # as on a GPU
        return trainer

    case, graphs = cases(registry.get(name))[recipe], emulation.EmulatedGraphs()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Training goes on without capturing")
        assert differ(make(case, graphs), make(case, emulation.LiveGraphs())) == []
    assert graphs.replays >= STEPS // 3


# --- all that a step may consist of ---


@pytest.fixture
def rich(toy: type[Any]) -> type[Any]:
    """Three phases; players with all kinds of optimisers, turns, averages, schedules and states."""

    class Rich(toy):  # type: ignore[misc, valid-type]
        def state(self) -> Mapping[str, Tensor]:
            return {"total": torch.zeros(3)}

        def phases(self) -> tuple[Phase, ...]:
            def falling(progress: float) -> float:
                return 1 - 0.9 * progress

            first = Player("classifier", ("classifier",), self.loss, 0.01, Adam(), falling, Ema(0.9, "zero", True))
            second = Player("other", ("other",), self.other, 0.01, Adam(eps_inside=True), falling, every=3, repeat=2)
            third = replace(second, name="third", optimiser=SGD(), every=1, repeat=1, historical_weight=0.1)
            last = replace(first, loss=self.last)
            return (Phase("one", 1, (first, second)), Phase("two", 1, (first, third)), Phase("three", 1, (last,)))

        def last(self, nets: Any, *others: Any) -> Any:
            loss, logs = self.loss(nets, *others)
            return loss + nets.classifier.tensors["linear.weight"].square().sum(), logs

        def other(self, nets: Any, batch: Any, noise: Any, state: Any, progress: Tensor) -> Any:
            images = batch["unlabelled"] + noise.normal(*batch["unlabelled"].shape)
            loss = (nets.other(images, noise, update=True) * (1 + progress)).square().mean()
            return loss, {"progress": progress}, {"total": state["total"] + loss.detach()}

    return Rich


def make_rich(make_trainer: MakeTrainer, rich: type[Any], graphs: Any = None, steps: int = 30) -> Trainer:
    return make_trainer(rich, (0, 1), steps=steps, evaluations=5, graphs=graphs)


def test_replays_equal_steps_of_all_kinds(rich: type[Any], make_trainer: MakeTrainer, emulation: ModuleType) -> None:
    """In phase one the second player is due at steps 0, 3, 6, 9; in phase three the first is alone once more."""
    graphs = emulation.EmulatedGraphs()
    found = differ(make_rich(make_trainer, rich, graphs), make_rich(make_trainer, rich, emulation.LiveGraphs()))
    assert found == []
    assert (graphs.captures, graphs.replays) == (4, (4 - WARM_UP) + (6 - WARM_UP) + 2 * (10 - WARM_UP))


@pytest.fixture
def one_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epsilon is put under the root in the same way with and without captures."""
    monkeypatch.setattr(optimiser, "EpsInsideAdam", optimiser.CapturableEpsInsideAdam)


@pytest.mark.usefixtures("one_epsilon")
def test_numbers_on_the_device_make_no_difference_but_rounding(
    rich: type[Any], make_trainer: MakeTrainer, emulation: ModuleType
) -> None:
    captured, plain = (trained(make_rich(make_trainer, rich, graphs)) for graphs in (emulation.EmulatedGraphs(), None))
    for name, net in plain.networks.items():
        assert captured.networks[name].flat.numpy() == pytest.approx(net.flat.numpy(), rel=1e-4, abs=1e-5), name
    assert captured.averages["classifier"].updates == plain.averages["classifier"].updates == 30
    assert captured.averages["classifier"].parameters()["linear.weight"].numpy() == pytest.approx(
        plain.averages["classifier"].parameters()["linear.weight"].numpy(), rel=1e-4, abs=1e-5
    )
    assert captured.curves.steps == plain.curves.steps == [6, 12, 18, 24, 30]
    for found, expected in zip(captured.curves.logs, plain.curves.logs, strict=True):
        assert found.keys() == expected.keys()
        assert all(found[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5) for name in expected)


def _plain_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    build = optimiser.build
    monkeypatch.setattr(optimiser, "build", lambda spec, flats, lr, capturable: build(spec, flats, lr))


def _moving_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def advance(self: Batches, remaining: int) -> None:
        self.rows = {}
        original(self, remaining)

    original = Batches.advance
    monkeypatch.setattr(Batches, "advance", advance)


def _counting_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_more(number: Any, device: Any) -> int:
        return int(number) + 1

    monkeypatch.setattr("bench.training.historical.one_more", one_more)


def _moving_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def update(self: Trainer, player: Player, batch: Any) -> list[str]:
        self.state = {name: value + 1 for name, value in self.state.items()}
        return original(self, player, batch)

    original = Trainer._update
    monkeypatch.setattr(Trainer, "_update", update)


@pytest.mark.parametrize("plant", [_plain_rates, _moving_batches, _counting_on_the_host, _moving_state])
def test_what_a_step_reads_from_the_host_shows(
    plant: Callable[[pytest.MonkeyPatch], None],
    rich: type[Any],
    make_trainer: MakeTrainer,
    emulation: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    one, other = (
        make_rich(make_trainer, rich, graphs) for graphs in (emulation.EmulatedGraphs(), emulation.LiveGraphs())
    )
    assert differ(one, other) != []


# --- what changes from step to step ---


def alone(toy: type[Any], player: Callable[[Any], Player], **members: Any) -> type[Any]:
    """A variant of one player."""
    members["phases"] = lambda self: (Phase("main", 1, (player(self),)),)
    return type("Alone", (toy,), members)


def linear(nets: Any, batch: Any, noise: Any, state: Any, progress: Tensor) -> Any:
    """A gradient of 1 for every shift."""
    drawn = noise.normal(1)
    return nets.other.tensors["linear.bias"].sum(), {"drawn": drawn[0], "progress": progress}


@pytest.mark.parametrize("eps_inside", [False, True])
def test_rates_follow_their_schedule(
    eps_inside: bool, toy: type[Any], make_trainer: MakeTrainer, emulation: ModuleType
) -> None:
    """With a constant gradient Adam moves by its rate: here by 0.1 (1 + progress)."""
    spec = Adam(eps=1e-12, eps_inside=eps_inside)
    kind = alone(toy, lambda self: Player("p", ("other",), linear, 0.1, spec, lambda progress: 1 + progress))
    trainer, bare = (make_trainer(kind, steps=10, graphs=graphs) for graphs in (emulation.EmulatedGraphs(), None))
    bias = [t.networks["other"].parameters["linear.bias"][0] for t in (trainer, bare)]
    for at in range(1, 11):
        trainer.step()
        bare.step()
        moved = sum(0.1 * (1 + step / 10) for step in range(at))
        assert (bias[0] - bias[1]).abs().max().item() < 1e-5
        assert trainer.networks["other"].flat.isfinite().all()
    fresh = make_trainer(kind, steps=10).networks["other"].parameters["linear.bias"][0]
    assert (fresh - bias[0]).tolist() == pytest.approx([moved] * 3, rel=1e-4)


def test_noise_and_progress_are_those_of_the_step(
    toy: type[Any], make_trainer: MakeTrainer, emulation: ModuleType
) -> None:
    kind, steps = alone(toy, lambda self: Player("p", ("other",), linear, 0.1)), 8
    trainer = trained(make_trainer(kind, (3, 4), steps=steps, evaluations=steps, graphs=emulation.EmulatedGraphs()))
    for run, seed in enumerate((3, 4)):
        generator = torch_generator("cpu", seed, "noise")
        expected = [torch.randn(16, generator=generator)[0].item() for _ in range(steps)]
        assert [log["p/drawn"][run] for log in trainer.curves.logs] == expected
    assert [log["p/progress"] for log in trainer.curves.logs] == [[at / steps] * 2 for at in range(steps)]


def test_a_replay_marks_a_run_with_its_own_step(
    toy: type[Any], make_trainer: MakeTrainer, emulation: ModuleType
) -> None:
    def loss(nets: Any, batch: Any, noise: Any, state: Any, progress: Tensor) -> Any:
        value = nets.other.tensors["linear.bias"].sum()
        return torch.where(progress > 0.65, value.detach() / 0, value), {}

    kind = alone(toy, lambda self: Player("p", ("other",), loss, 0.1))
    trainer = trained(make_trainer(kind, (0, 1), steps=10, graphs=emulation.EmulatedGraphs()))
    assert trainer.diverged_at.tolist() == [7, 7]


def test_a_phase_is_captured_anew(toy: type[Any], make_trainer: MakeTrainer, emulation: ModuleType) -> None:
    """A player of the same name first goes down a slope of 1, then up as far."""

    def back(*args: Any) -> Any:
        loss, logs = linear(*args)
        return -loss, logs

    def phases(self: Any) -> tuple[Phase, ...]:
        losses = {"down": linear, "up": back}
        return tuple(Phase(n, 1, (Player("p", ("other",), loss, 0.1, SGD(0.0)),)) for n, loss in losses.items())

    graphs = emulation.EmulatedGraphs()
    trainer = make_trainer(type("Phased", (toy,), {"phases": phases}), steps=20, graphs=graphs)
    start = trainer.networks["other"].flat.clone()
    trainer.train()
    assert (trainer.networks["other"].flat - start).abs().max().item() < 1e-5
    assert graphs.captures == 2


def test_a_beta_that_moves_is_never_captured(toy: type[Any], make_trainer: MakeTrainer, emulation: ModuleType) -> None:
    """Constant for 8 steps, moving for 8, constant for 8."""

    def beta1(progress: float) -> float:
        return 0.9 - 0.4 * min(1.0, max(0.0, 3 * progress - 1))

    def make(graphs: Any) -> Trainer:
        kind = alone(toy, lambda self: Player("p", ("classifier",), self.loss, 0.01, beta1=beta1))
        return make_trainer(kind, steps=24, graphs=graphs)

    graphs = emulation.EmulatedGraphs()
    assert differ(make(graphs), make(emulation.LiveGraphs())) == []
    assert (graphs.captures, graphs.replays) == (2, (9 - WARM_UP) + (8 - WARM_UP))


# --- going on ---


@pytest.mark.parametrize(("at", "further"), [(1, 8), (8, 10), (20, 25)])
def test_resumed(at: int, further: int, rich: type[Any], make_trainer: MakeTrainer, emulation: ModuleType) -> None:
    """In a new trainer, and in one whose own steps have been captured already."""
    whole, broken_off, later = (make_rich(make_trainer, rich, emulation.EmulatedGraphs()) for _ in range(3))
    for _ in range(at):
        broken_off.step()
        if broken_off.at in broken_off.schedule.evaluations:
            broken_off.evaluate()
    states = run_states(broken_off)
    for _ in range(further):
        later.step()
    assert later.captured.graphs.replays
    resumed = make_rich(make_trainer, rich, emulation.EmulatedGraphs())
    expected = run_states(trained(whole))
    for trainer in (resumed, later):
        load_run_states(trainer, states)
        assert list(differences(expected, run_states(trained(trainer)))) == []


@pytest.mark.usefixtures("one_epsilon")
def test_states_saved_without_captures_are_taken_over(
    rich: type[Any], make_trainer: MakeTrainer, emulation: ModuleType
) -> None:
    """Counters that were integers count on as they have to, either way."""
    for first, then in ((None, emulation.EmulatedGraphs()), (emulation.EmulatedGraphs(), None)):
        start, resumed = make_rich(make_trainer, rich, first), make_rich(make_trainer, rich, then)
        whole = trained(make_rich(make_trainer, rich))
        for _ in range(8):
            start.step()
        load_run_states(resumed, run_states(start))
        resumed.train()
        for name, net in whole.networks.items():
            assert resumed.networks[name].flat.numpy() == pytest.approx(net.flat.numpy(), rel=1e-4, abs=1e-5), name


# --- going on without ---


def test_a_step_that_waits_for_the_device_goes_on_as_it_is(
    toy: type[Any], make_trainer: MakeTrainer, emulation: ModuleType
) -> None:
    class Waits(toy):  # type: ignore[misc, valid-type]
        name = "waits"

        def loss(self, *args: Any) -> Any:
            loss, logs = super().loss(*args)
            return loss * (1 + loss.item()), logs

    def make(graphs: Any) -> Trainer:
        trainer = make_trainer(Waits, (0, 1), steps=8, graphs=graphs)
        trainer.executor = trainer.evaluator.executor = LoopExecutor(trainer.networks)
        return trainer

    graphs = emulation.EmulatedGraphs()
    with pytest.warns(UserWarning, match=r"without capturing the steps of variant 'waits': .*_local_scalar_dense") as w:
        assert differ(make(graphs), make(emulation.LiveGraphs())) == []
    assert len([one for one in w if "capturing" in str(one.message)]) == 1
    assert graphs.replays == 0


class Objecting:
    """A device that objects after the trial."""

    def trial(self, body: Callable[[], None]) -> str:
        body()
        return "it waits at file.py:7"

    def capture(self, body: Any, generators: Any) -> Any:
        raise AssertionError("captured all the same")

    def forget(self) -> None: ...


@pytest.mark.filterwarnings("ignore:Training goes on without capturing")
def test_states_are_of_one_kind_with_and_without_captures(
    toy: type[Any], make_trainer: MakeTrainer, emulation: ModuleType
) -> None:
    """A run goes on where another process gave up capturing, though its second optimiser was made after that."""

    def phases(self: Any) -> tuple[Phase, ...]:
        early = Player("early", ("classifier",), self.loss, 0.01)
        late = Player("late", ("other",), linear, 0.01, Adam(eps_inside=True))
        return Phase("one", 1, (early,)), Phase("two", 1, (late,))

    kind = type("Phased", (toy,), {"phases": phases})
    start, one, other = (
        make_trainer(kind, steps=20, graphs=graphs) for graphs in (Objecting(), emulation.LiveGraphs(), Objecting())
    )
    for _ in range(15):
        start.step()
    assert start.captured.graphs is None
    for trainer in (one, other):
        load_run_states(trainer, run_states(start))
    assert differ(one, other) == []


def test_a_trial_that_finds_a_problem_prevents_the_capture() -> None:
    calls: list[int] = []
    captured = Captured(Objecting(), [], "the toy")
    with pytest.warns(UserWarning, match=r"steps of the toy: it waits at file\.py:7"):
        results = [captured("kind", (), lambda: calls.append(0) or len(calls)) for _ in range(8)]
    assert results == list(range(1, 9))
