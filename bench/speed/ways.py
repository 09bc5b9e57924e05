"""Ways to compute a cohort, beside each other: what the rule in `bench.training.executor` chooses from, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from bench.speed.branches import BranchExecutor
from bench.speed.convolutions import Convolution, channels_last, convolving, unfolded
from bench.speed.rounds import BEFORE_ON_GPU, CPU, Alternative, Effort, Spread, Timings, measure
from bench.speed.setup import Setup, traced
from bench.speed.tables import cohort, table
from bench.training.executor import Executor, LoopExecutor, VmapExecutor, convolve, stacks
from bench.training.trainer import Trainer
from bench.variant import Variant

GAIN = 0.05  # of the chosen way's time: another one that saves less is not called faster


@dataclass(frozen=True)
class Way:
    """How the losses of a cohort are computed.

    Attributes:
        stacked: all runs in one batched computation; otherwise run after run.
        convolution: in place of torch's own, which under `vmap` has a group of channels for each run.
        branches: run after run on several streams of a GPU.
    """

    stacked: bool
    convolution: Convolution | None = None
    branches: bool = False

    def fits(self, convolutions: bool, device: torch.device) -> bool:
        """Whether it is a way of its own for networks with or without convolutions on such a device."""
        return (convolutions or self.convolution is None) and (device.type == "cuda" or not self.branches)

    def executor(self, trainer: Trainer) -> Executor:
        if self.branches:
            return BranchExecutor(trainer.networks, trainer.device, trainer.precision)
        if self.stacked:
            return VmapExecutor(trainer.networks, math.inf, trainer.precision)
        return LoopExecutor(trainer.networks, math.inf, trainer.precision)


LOOP, STACKED = "run after run", "stacked"
WAYS: Mapping[str, Way] = {
    LOOP: Way(False),
    f"{LOOP}, unfolded": Way(False, unfolded),
    f"{LOOP}, channels last": Way(False, channels_last),
    f"{LOOP}, parallel branches": Way(False, branches=True),
    STACKED: Way(True),
    f"{STACKED}, unfolded": Way(True, unfolded),
    f"{STACKED}, channels last": Way(True, channels_last),
}


@dataclass(frozen=True)
class Computed(Setup):
    """A setup whose cohorts are computed in one of the ways."""

    way: Way

    def made(self, phase: str | None = None) -> Variant:
        made, convolution = super().made(phase), self.way.convolution
        return made if convolution is None else convolving(made, convolution, stacked=self.way.stacked)

    def trainer(self, runs: int, phase: str | None = None, device: torch.device = CPU) -> Trainer:
        trainer = super().trainer(runs, phase, device)
        trainer.executor = self.way.executor(trainer)  # type: ignore[assignment]
        return traced(trainer)


@dataclass(frozen=True)
class Found:
    """What was measured of one subject."""

    timings: Timings
    chosen: str  # the way of the rule
    runs: int
    left_out: Mapping[str, str]  # ways that could not be measured, and why

    def relative(self, way: str) -> Spread:
        return self.timings.ratio(way, self.chosen)

    @property
    def faster(self) -> list[str]:
        """Ways that are faster than the chosen one: by `GAIN`, and in every round; none where that was not measured."""
        if self.chosen in self.left_out:
            return []
        found = {way: self.relative(way) for way in self.timings.seconds}
        return [way for way, ratio in found.items() if ratio.median < 1 - GAIN and ratio.high < 1]


def compare(setup: Setup, runs: int, phase: str | None, effort: Effort, device: torch.device = CPU) -> Found:
    """Times a step of so many runs in every way that fits."""
    networks = [make() for make in setup.made(phase).networks().values()]
    alternatives, left_out = {}, {}
    for name, way in WAYS.items():
        if not way.fits(convolve(networks), device):
            continue
        try:
            trainer = Computed(setup.variant, setup.recipe, setup.dataset, way).trainer(runs, phase, device)
            for _ in range(BEFORE_ON_GPU if device.type == "cuda" else 1):
                trainer.step()
            if trainer.capturable and trainer.captured.graphs is None:
                left_out[name] = "not captured"
            else:
                alternatives[name] = Alternative(trainer.step, runs)
        except torch.OutOfMemoryError:
            left_out[name] = "out of memory"
    return Found(measure(alternatives, effort, device), STACKED if stacks(networks, device) else LOOP, runs, left_out)


def section(found: Mapping[str, Found]) -> str:
    """A row per way of each subject, and what is to be said of the rule's choice."""
    header = ("", "way", "ms per run-step", "relative")
    rows = [row for title, own in found.items() for row in _rows(title, own)]
    verdicts = "\n".join(f"- {title}: {_verdict(own)}" for title, own in found.items())
    return f"## Ways to compute a cohort\n\n{EXPLANATION}\n\n{table(header, rows)}\n{verdicts}\n"


EXPLANATION = (
    "Steps of one cohort, computed in several ways: run after run on slices of the stacked storage; all runs at once, "
    "where a product of matrices becomes a batch of products and a convolution one with a group of channels per run. "
    "Unfolded: every patch is copied into the row of a matrix, and a convolution becomes a product of matrices (under "
    "`vmap` a batch of them, one per run). Channels last: images and weights lie in memory pixel by pixel. Parallel "
    "branches: the captured step has several streams, each with the operations of some runs. Time per run-step, and "
    f"relative to the way that the rule chooses. Another is called faster that saves at least {GAIN:.0%}, and time in "
    "every round."
)


def _rows(title: str, own: Found) -> list[tuple[str, ...]]:
    names = [way for way in WAYS if way in {**own.timings.seconds, **own.left_out}]
    heads = [f"{title}, {cohort(own.runs)}", *[""] * (len(names) - 1)]
    return [(head, *_cells(own, way)) for head, way in zip(heads, names, strict=True)]


def _cells(own: Found, way: str) -> tuple[str, str, str]:
    if way in own.left_out:
        return way, own.left_out[way], ""
    seconds = f"{1e3 * own.timings.of(way).median:.2f}"
    if way == own.chosen or own.chosen in own.left_out:
        return way, seconds, "chosen" if way == own.chosen else ""
    return way, seconds, own.relative(way).text(2)


def _verdict(own: Found) -> str:
    faster = own.faster
    if own.chosen in own.left_out:
        return f"chosen is {own.chosen}, which could not be measured: {own.left_out[own.chosen]}."
    if not faster:
        return f"chosen is {own.chosen}; no other way is faster."
    return f"chosen is {own.chosen}; faster: {', '.join(faster)}."


def break_even(found: Mapping[int, Found]) -> str:
    """A row per size of the largest weight: whether stacking pays there."""
    rows = []
    for size, own in found.items():
        stacking = own.timings.ratio(STACKED, LOOP)
        rows.append((f"{size:,}", stacking.text(2), own.chosen, _verdict(own).partition("; ")[2].rstrip(".")))
    header = ("elements of the largest weight", "stacked / run after run", "chosen", "")
    runs = next(iter(found.values())).runs
    note = (
        f"`fm` on digits with narrower and wider layers, {cohort(runs)}. What stacking saves is the price of calls; "
        "what it costs is that a batch of products goes through memory that single runs keep in the cache."
    )
    return f"### Where stacking ends\n\n{note}\n\n{table(header, rows)}"
