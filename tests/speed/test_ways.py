"""Ways to compute a cohort: all train alike; which of them a report calls faster."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import registry
from bench.speed import choices, crews, subjects, ways
from bench.speed.cases import case, synthetic_mnist
from bench.speed.convolutions import Geometry
from bench.speed.crews import Crew
from bench.speed.rounds import CPU, Effort, Timings
from bench.speed.setup import Setup
from bench.speed.ways import LOOP, STACKED, WAYS, Computed, Found, break_even, compare, section
from bench.training.executor import convolve, stacks

CUDA = torch.device("cuda")


def small() -> Setup:
    """Pre-training of Triple-GAN's convolutional classifier on few images."""
    triple = registry.get("triple")
    recipe = triple.recipe_for("paper", "mnist", "grey")
    return Setup(triple, recipe.model_copy(update={"labelled_batch": 4, "pretrain_batch": 4}), synthetic_mnist(200))


# --- the ways ---


@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if not way.branches and name != LOOP])
@pytest.mark.filterwarnings("error:Training goes on without")
def test_every_way_trains_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Geometry] = []

    def counted(x: Any, weight: Any, bias: Any, how: Geometry) -> Any:
        calls.append(how)
        return convolution(x, weight, bias, how)  # type: ignore[misc]

    setup, convolution = small(), WAYS[name].convolution
    if convolution is not None:
        monkeypatch.setitem(ways.WAYS, name, replace(WAYS[name], convolution=counted))
    one, other = (
        Computed(setup.variant, setup.recipe, setup.dataset, WAYS[way]).trainer(2, "pretraining")
        for way in (LOOP, name)
    )
    for trainer in (one, other):
        trainer.step()
    own, expected = (trainer.networks["classifier"].gradient for trainer in (other, one))
    assert torch.allclose(own, expected, rtol=1e-3, atol=1e-5)
    assert not torch.equal(own, torch.zeros_like(own))
    assert bool(calls) == (convolution is not None)


def test_ways_that_are_none_are_left_out() -> None:
    """Without convolutions only two are left; branches need a GPU."""
    assert [name for name, way in WAYS.items() if way.fits(convolutions=False, device=CPU)] == [LOOP, STACKED]
    assert [name for name, way in WAYS.items() if not way.fits(convolutions=True, device=CPU)] == [
        f"{LOOP}, parallel branches"
    ]
    assert all(way.fits(convolutions=True, device=CUDA) for way in WAYS.values())


def test_compared() -> None:
    found = compare(case("digits"), 2, None, Effort(1, 0.0))
    assert list(found.timings.seconds) == [LOOP, STACKED]
    assert (found.chosen, found.runs, found.left_out) == (STACKED, 2, {})
    assert all(seconds > 0 for (seconds,) in found.timings.seconds.values())


def test_what_does_not_fit_into_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def trainer(self: Computed, *arguments: Any) -> Any:
        if not self.way.stacked:
            raise torch.OutOfMemoryError
        return original(self, *arguments)

    original = Computed.trainer
    monkeypatch.setattr(Computed, "trainer", trainer)
    found = compare(case("digits"), 1, None, Effort(1, 0.0))
    assert found.left_out == {LOOP: "out of memory"}
    assert re.search(rf"\| {LOOP} +\| out of memory +\|", section({"a": found}))


@pytest.mark.cuda
def test_branches_on_a_gpu() -> None:
    setup = subjects.SUBJECTS["mnist"].setup()
    trainers = [
        Computed(setup.variant, setup.recipe, setup.dataset, WAYS[way]).trainer(3, None, CUDA)
        for way in (LOOP, f"{LOOP}, parallel branches")
    ]
    for trainer in trainers:
        for _ in range(8):
            trainer.step()
        assert any(kind.replay is not None for kind in trainer.captured.kinds.values())
    one, other = (trainer.logs.current() for trainer in trainers)
    for name, value in one.items():
        assert torch.allclose(other[name], value, rtol=1e-2, atol=1e-3), name


@pytest.mark.cuda
def test_compared_on_a_gpu() -> None:
    found = compare(subjects.SUBJECTS["conv"].setup(), 2, None, Effort(1, 0.0), CUDA)
    assert list(found.timings.seconds) == list(WAYS)
    assert found.chosen == STACKED


# --- the report ---


def made_up(**ways: list[float]) -> Found:
    """Seconds per round of some ways, of which `loop` is chosen."""
    names = {"loop": LOOP, "stacked": STACKED, "last": f"{LOOP}, channels last"}
    return Found(Timings({names[name]: seconds for name, seconds in ways.items()}, 1.0), LOOP, 4, {})


@pytest.mark.parametrize(
    ("stacked", "faster"),
    [
        ([0.9, 0.8, 0.9], [STACKED]),
        ([0.9, 0.8, 1.01], []),  # not in every round
        ([0.97, 0.96, 0.98], []),  # too little
    ],
)
def test_faster_is_what_saves_time_in_every_round(stacked: list[float], faster: list[str]) -> None:
    assert made_up(loop=[1.0, 1.0, 1.0], stacked=stacked).faster == faster


def test_a_choice_that_could_not_be_measured() -> None:
    found = Found(Timings({STACKED: [0.001]}, 1.0), LOOP, 4, {LOOP: "out of memory"})
    assert found.faster == []
    text = section({"a": found})
    assert f"- a: chosen is {LOOP}, which could not be measured: out of memory." in text
    assert re.search(rf"\| {STACKED} +\| 1.00 +\| +\|", text)


def test_rows_and_verdicts() -> None:
    text = section({
        "a": made_up(loop=[0.001], stacked=[0.0005], last=[0.002]),
        "b": made_up(loop=[0.001], stacked=[0.001]),
    })  # fmt: skip
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    assert rows == [
        ["", "way", "ms per run-step", "relative"],
        ["a, cohort of 4", LOOP, "1.00", "chosen"],
        ["", f"{LOOP}, channels last", "2.00", "2.00 (2.00 to 2.00)"],
        ["", STACKED, "0.50", "0.50 (0.50 to 0.50)"],
        ["b, cohort of 4", LOOP, "1.00", "chosen"],
        ["", STACKED, "1.00", "1.00 (1.00 to 1.00)"],
    ]
    assert f"- a: chosen is {LOOP}; faster: {STACKED}." in text
    assert f"- b: chosen is {LOOP}; no other way is faster." in text


def test_where_stacking_ends() -> None:
    text = break_even({1000: made_up(loop=[1.0], stacked=[0.5]), 2000: made_up(loop=[1.0], stacked=[1.2])})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    assert rows[1:] == [
        ["1,000", "0.50 (0.50 to 0.50)", LOOP, f"faster: {STACKED}"],
        ["2,000", "1.20 (1.20 to 1.20)", LOOP, "no other way is faster"],
    ]


def test_all_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[Any, ...]] = []

    def compare(setup: Setup, *arguments: Any) -> Found:
        compared.append((setup.variant.name, *arguments))
        return made_up(loop=[1.0], stacked=[1.0])

    def rates(wanted: list[Crew], *others: Any) -> dict[Crew, list[float]]:
        if wanted[0].subject == "conv":
            raise RuntimeError("one of the processes broke down")
        return {crew: [1.0] for crew in wanted}

    monkeypatch.setattr(ways, "compare", compare)
    monkeypatch.setattr(crews, "rates", rates)
    first, second, third = choices.report(CPU, quick=True)
    assert first.startswith("## Ways")
    assert second.startswith("### Where stacking ends")
    assert third.startswith("### Several processes")
    assert "- `triple`'s classifier by itself is left out: one of the processes broke down." in third
    assert [(name, runs) for name, runs, *_ in compared] == [("fm", 15), ("triple", 4), ("fm", 15), ("fm", 15)]
    assert len(list(choices.report(CUDA, quick=False))) == 2


# --- the subjects ---


@pytest.mark.parametrize(("name", "trained"), [("digits", 2), ("conv", 1), ("cifar-common", 2)])
def test_subjects_can_be_trained(name: str, trained: int) -> None:
    """A step moves so many networks, and stays finite."""
    step: Any = subjects.stepping(name, 2, CPU)
    trainer = step.__self__
    before = {name: net.flat.clone() for name, net in trainer.networks.items()}
    step()
    assert trainer.runs == 2
    assert trainer.diverged_at.tolist() == [-1, -1]
    assert sum(not torch.equal(net.flat, before[name]) for name, net in trainer.networks.items()) == trained
    assert all(net.flat.isfinite().all() for net in trainer.networks.values())


def test_subjects_are_of_all_kinds() -> None:
    """Small and large perceptrons, convolutions; both executors."""
    made = {name: [make() for make in s.setup().made().networks().values()] for name, s in subjects.SUBJECTS.items()}
    assert {name: stacks(nets, CPU) for name, nets in made.items()} == {
        "digits": True, "mnist-common": True, "mnist": False, "conv": False, "triple": False, "cifar-common": False,
        "cifar": False,
    }  # fmt: skip
    assert [name for name, nets in made.items() if convolve(nets)] == ["conv", "triple", "cifar-common", "cifar"]
    assert subjects.SUBJECTS["triple"].phase() == "pseudo-labels"
    assert all(name in subjects.SUBJECTS for runs in subjects.CREWS.values() for name in runs)


def test_layers_are_widened() -> None:
    assert [subjects.largest_weight(subjects.widened(factor)) for factor in (1.0, 2.0)] == [32_768, 131_072]
