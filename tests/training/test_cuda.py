"""What only a GPU can show; skipped where there is none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.conformance.cases import Case, cases
from bench.training.capture import WARM_UP, CudaGraphs
from bench.training.executor import LoopExecutor
from bench.training.precision import Precision
from bench.training.state import load_run_states, run_states
from bench.training.trainer import Trainer
from bench.variant import Adam, Phase, Player

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU"),
]

MakeTrainer = Callable[..., Trainer]
STEPS = 24  # in three phases: some of each are replays


def trainer_on(device: str, case: Case, seeds: tuple[int, ...], **options: Any) -> Trainer:
    return Trainer(case.variant(), case.dataset, case.splits(seeds), seeds, STEPS, torch.device(device), **options)


@pytest.fixture(params=[name for name in registry.names() if name != "belt"])
def case(request: pytest.FixtureRequest) -> Case:
    common = cases(registry.get(request.param))[0]
    return replace(common, recipe=common.recipe.model_copy(update={"evaluations": 1}))


@pytest.fixture
def live(emulation: ModuleType) -> Callable[[], Any]:
    """What goes the way of captures and calls the steps themselves."""
    return emulation.LiveGraphs  # type: ignore[no-any-return]


@contextmanager
def no_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def all_captured() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Training goes on without capturing")
        yield


def replayed(trainer: Trainer) -> bool:
    """Whether the last step's kind is captured."""
    return any(kind.replay is not None for kind in trainer.captured.kinds.values())


def steps(trainer: Trainer, count: int) -> Trainer:
    for _ in range(count):
        trainer.step()
    return trainer


def flats(trainer: Trainer) -> dict[str, Tensor]:
    return {name: net.flat.clone() for name, net in trainer.networks.items()}


# --- every variant ---


def test_a_cohort_trains_and_is_evaluated(case: Case) -> None:
    trainer = trainer_on("cuda", case, (0, 1))
    with all_captured():
        trainer.train()
    assert replayed(trainer)
    assert trainer.diverged_at.tolist() == [-1, -1]
    assert all(net.flat.device.type == "cuda" for net in trainer.networks.values())
    errors, _ = trainer.curves.run(0)
    assert all(0 <= wrong[-1] <= len(trainer.evaluator.test_images) for wrong in errors.values())


@pytest.mark.parametrize("captured", [True, False])
def test_no_step_waits_for_the_device(captured: bool, case: Case, live: Callable[[], Any]) -> None:
    """But for the one that is captured: the very first of each phase may not wait, either."""
    trainer = trainer_on("cuda", case, (0, 1), graphs=None if captured else live())
    steps(trainer, WARM_UP + 2)
    ends = set(trainer.schedule.ends)
    while trainer.at < STEPS:
        start = max((end for end in ends if end <= trainer.at), default=0)
        if captured and trainer.at - start <= WARM_UP:
            trainer.step()
            continue
        with no_waiting():
            trainer.step()


def test_replays_equal_steps(case: Case, live: Callable[[], Any]) -> None:
    """Up to rounding: some kernels add in any order."""
    captured, called = trainer_on("cuda", case, (0, 1)), trainer_on("cuda", case, (0, 1), graphs=live())
    for trainer in (captured, called):
        steps(trainer, WARM_UP + 3)
    for name, total in called.logs.current().items():
        found = captured.logs.current()[name].tolist()
        assert found == pytest.approx(total.tolist(), rel=1e-2, abs=1e-3), name
    assert captured.logs.counts == called.logs.counts
    for own, other in zip(captured.generators, called.generators, strict=True):
        assert torch.equal(own.get_state(), other.get_state())


def test_the_first_losses_agree_with_those_of_a_cpu(case: Case) -> None:
    """Up to noise: generators of different devices draw different numbers, so only scales can be compared."""
    losses = {}
    for device in ("cpu", "cuda"):
        trainer = trainer_on(device, case, tuple(range(15)))
        trainer.step()
        losses[device] = {n: value.cpu() for n, value in trainer.logs.current().items() if n.endswith("/loss")}
    assert losses["cpu"].keys() == losses["cuda"].keys()
    for name, expected in losses["cpu"].items():
        spread = 4 * (expected.std() + losses["cuda"][name].std()) / 15**0.5 + 1e-3 * expected.abs().max()
        assert (expected.mean() - losses["cuda"][name].mean()).abs() <= spread, name


# --- what changes from step to step ---


def linear(nets: Any, batch: Any, noise: Any, state: Any, progress: Tensor) -> Any:
    """A gradient of 1 for every shift."""
    drawn = noise.normal(1)
    return nets.other.tensors["linear.bias"].sum(), {"drawn": drawn[0], "progress": progress}


def alone(toy: type[Any], *players: Player) -> type[Any]:
    return type("Alone", (toy,), {"phases": lambda self: (Phase("main", 1, players),)})


@pytest.mark.parametrize("eps_inside", [False, True])
def test_rates_follow_their_schedule(eps_inside: bool, toy: type[Any], make_trainer: MakeTrainer) -> None:
    """With a constant gradient Adam moves by its rate."""
    spec = Adam(eps=1e-12, eps_inside=eps_inside)
    kind = alone(toy, Player("p", ("other",), linear, 0.1, spec, lambda progress: 1 + progress))
    trainer = make_trainer(kind, steps=10, device="cuda")
    before = trainer.networks["other"].parameters["linear.bias"][0].clone()
    steps(trainer, 10)
    assert replayed(trainer)
    moved = before - trainer.networks["other"].parameters["linear.bias"][0]
    assert moved.tolist() == pytest.approx([sum(0.1 * (1 + at / 10) for at in range(10))] * 3, rel=1e-3)


def test_every_replay_of_every_run_has_noise_of_its_own(
    toy: type[Any], make_trainer: MakeTrainer, live: Callable[[], Any]
) -> None:
    kind, seen = alone(toy, Player("p", ("other",), linear, 0.1)), []
    for graphs in (None, live()):
        trainer = make_trainer(kind, (0, 1, 2), steps=12, evaluations=12, device="cuda", graphs=graphs)
        trainer.train()
        seen.append([log["p/drawn"] for log in trainer.curves.logs])
        assert [log["p/progress"] for log in trainer.curves.logs] == [pytest.approx([at / 12] * 3) for at in range(12)]
    assert len({number for log in seen[0] for number in log}) == 36
    assert seen[0] == seen[1]


def test_a_run_alone_has_the_noise_that_it_has_in_a_cohort(toy: type[Any], make_trainer: MakeTrainer) -> None:
    kind, drawn = alone(toy, Player("p", ("other",), linear, 0.1)), []
    for seeds in ((1,), (0, 1)):
        trainer = make_trainer(kind, seeds, steps=8, evaluations=8, device="cuda")
        trainer.train()
        drawn.append([log["p/drawn"][-1] for log in trainer.curves.logs])
    assert drawn[0] == drawn[1]


def test_phases_and_turns(toy: type[Any], make_trainer: MakeTrainer, live: Callable[[], Any]) -> None:
    """Several captures share their memory; a player of the first phase is called the same in the second."""

    class Turns(toy):  # type: ignore[misc, valid-type]
        def phases(self) -> tuple[Phase, ...]:
            (main,) = super().phases()
            often = main.players[0]
            seldom = Player("other", ("other",), self.loss, 0.01, Adam(eps_inside=True), every=2, repeat=2)
            backwards = replace(often, loss=self.backwards, historical_weight=0.1)
            return (Phase("one", 1, (often, seldom)), Phase("two", 1, (backwards,)))

        def backwards(self, *args: Any) -> Any:
            loss, logs = self.loss(*args)
            return -0.1 * loss, logs

    found = []
    for graphs in (None, live()):
        with all_captured():
            trainer = steps(make_trainer(Turns, (0, 1), steps=40, device="cuda", graphs=graphs), 40)
        found.append(flats(trainer))
    for name, value in found[1].items():
        assert torch.allclose(found[0][name], value, rtol=1e-3, atol=1e-4), name


# --- going on ---


@pytest.mark.parametrize("at", [2, 10])
def test_resumed(at: int, toy: type[Any], make_trainer: MakeTrainer) -> None:
    whole = steps(make_trainer(toy, (0, 1), steps=20, device="cuda"), at)
    states = run_states(whole)
    steps(whole, 20 - at)
    resumed = make_trainer(toy, (0, 1), steps=20, device="cuda")
    load_run_states(resumed, states)
    steps(resumed, 20 - at)
    load_run_states(whole, states)  # its own step has been captured
    again = steps(whole, 20 - at)
    for name, value in flats(resumed).items():
        assert torch.allclose(flats(again)[name], value, rtol=1e-3, atol=1e-4), name
    for own, other in zip(resumed.generators, again.generators, strict=True):
        assert torch.equal(own.get_state(), other.get_state())


# --- precision ---


def test_precisions_differ_and_train(toy: type[Any], make_trainer: MakeTrainer) -> None:
    logits, losses = {}, {}
    for name in ("fp32", "tf32", "bf16"):
        trainer = make_trainer(toy, (0, 1), steps=10, device="cuda", precision=name)
        logits[name] = trainer.evaluator.logits(averaged=False)
        with all_captured():
            steps(trainer, 10)
        losses[name] = trainer.logs.means()["classifier/loss"]
        assert trainer.networks["classifier"].gradient.dtype == torch.float32
    assert logits["bf16"].dtype == torch.float32
    assert 1e-5 < (logits["bf16"] - logits["fp32"]).abs().max() < 0.1 * logits["fp32"].abs().max()
    assert (logits["tf32"] - logits["fp32"]).abs().max() < 0.02 * logits["fp32"].abs().max()
    for name in ("tf32", "bf16"):
        assert losses[name] == pytest.approx(losses["fp32"], rel=0.05)


@pytest.mark.parametrize(("name", "largest"), [("fp32", 1e-6), ("tf32", 2e-3)])
def test_products_are_as_exact_as_they_are_said_to_be(name: Any, largest: float) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    a, b = (torch.rand(512, 512, device="cuda", generator=generator) for _ in range(2))
    with Precision(name, "cuda").kernels():
        error = ((a @ b).double() - a.double() @ b.double()).abs().max() / 128
    assert error < largest
    if name == "tf32" and torch.cuda.get_device_capability() >= (8, 0):
        assert error > 1e-6


# --- going on without ---


@pytest.mark.parametrize("tried", [True, False])
def test_a_step_that_waits_goes_on_as_it_is(
    tried: bool, toy: type[Any], make_trainer: MakeTrainer, live: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the trial, or by a capture that breaks off; further trainers are not concerned."""

    class Waits(toy):  # type: ignore[misc, valid-type]
        name = "waits"

        def loss(self, *args: Any) -> Any:
            loss, logs = super().loss(*args)
            return loss * (1 + loss.item()), logs

    def make(graphs: Any) -> Trainer:
        trainer = make_trainer(Waits, (0, 1), steps=10, device="cuda", graphs=graphs)
        trainer.executor = trainer.evaluator.executor = LoopExecutor(trainer.networks)
        return trainer

    with monkeypatch.context() as patched:
        if not tried:
            patched.setattr(CudaGraphs, "trial", lambda self, body: body() or "")
        with pytest.warns(UserWarning, match="without capturing the steps of variant 'waits'"):
            found = steps(make(None), 10)
    called = make(live())
    called.captured.graphs = None
    for name, value in flats(steps(called, 10)).items():
        assert torch.allclose(flats(found)[name], value, rtol=1e-3, atol=1e-4), name
    with all_captured():
        assert replayed(steps(make_trainer(toy, steps=10, device="cuda"), 6))
