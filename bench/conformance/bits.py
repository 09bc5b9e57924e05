"""Checks on bits: what a run's numbers may depend on, and what not."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from bench.conformance.cases import Case, per_case
from bench.conformance.problem import ConformanceError
from bench.conformance.snapshot import require_same, snapshot
from bench.training.executor import LoopExecutor, VmapExecutor
from bench.training.state import load_run_states, run_states
from bench.training.trainer import Trainer

STEPS = 4  # a variant of three phases sees all of them
# Between executors, relative to a tensor's largest number
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}


@per_case
def cohorts(case: Case) -> None:
    """A run alone, in the middle of 3 and in the middle of 15 gives the same bits."""
    alone, three = (_trained(case.trainer(seeds, STEPS)) for seeds in ((7,), (6, 7, 8)))
    require_same(snapshot(alone, 0), snapshot(three, 1), "a run alone and in a cohort of 3")
    if case.tiny:  # networks of a paper's size: 15 of them take too long
        return
    fifteen = _trained(case.trainer(range(15), STEPS))
    for seed in (6, 7, 8):
        require_same(snapshot(three, seed - 6), snapshot(fifteen, seed), "a run in cohorts of 3 and 15")


@per_case
def executors(case: Case) -> None:
    """From the same state, both executors find the same losses, gradients and buffers, up to rounding.

    Rounding may tip a ReLU over, or a label that is guessed by argmax, which no tolerance covers. So what disagrees in
    float32 is judged in float64, by a bound that is a thousand times narrower.
    """
    if _disagreement(case, torch.float32) is None:
        return
    torch.set_default_dtype(torch.float64)
    try:
        found = _disagreement(case, torch.float64)
    finally:
        torch.set_default_dtype(torch.float32)
    if found is not None:
        raise ConformanceError(found)


def _disagreement(case: Case, kind: torch.dtype) -> str | None:
    """Where the executors disagree.

    Weights are not compared, and stay where they are within a step: Adam turns the rounding of a gradient that is truly
    zero into a whole step.
    """
    moving = case.trainer((0, 1), STEPS)
    vmap, loop = (_still(case.trainer((0, 1), STEPS, executor=make)) for make in (VmapExecutor, LoopExecutor))
    while moving.at < STEPS:
        for still in (vmap, loop):
            load_run_states(still, run_states(moving))
            still.step()
        moving.step()
        found, expected = _observed(vmap), _observed(loop)
        for name, value in expected.items():
            bound = TOLERANCE[kind] * max(value.abs().max().item(), 1e-3)
            if not torch.allclose(found[name], value, rtol=0, atol=bound):
                worst = (found[name] - value).abs().max().item()
                return f"vmap and loop disagree on {name} at step {vmap.at - 1} by {worst:.2g}"
    return None


def _still(trainer: Trainer) -> Trainer:
    """The trainer with step sizes of 0."""
    trainer.schedule.phases = [
        replace(phase, players=tuple(replace(player, lr=0.0) for player in phase.players))
        for phase in trainer.schedule.phases
    ]
    return trainer


@per_case
def traced(case: Case) -> None:
    """Losses that are traced after their first call give the bits of those that are not, and all can be traced."""
    if case.tiny:  # networks of a paper's size: tracing them takes too long
        return
    kind = type(case.trainer((0,), STEPS).executor)  # which the rule chooses: no other traces anything
    plain = _trained(case.trainer((0, 1), STEPS, executor=kind))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        traced = _trained(case.trainer((0, 1), STEPS, executor=partial(kind, trace_after=1)))
    if untraced := [str(warning.message) for warning in caught if "without tracing" in str(warning.message)]:
        raise ConformanceError(f"{untraced[0]} (rules 4 to 6 of bench/variant.py)")
    for run in (0, 1):
        require_same(snapshot(plain, run), snapshot(traced, run), "without and with traced losses")


def _observed(trainer: Trainer) -> dict[str, Tensor]:
    """Summed losses and logs, the networks' last gradients, and their float buffers."""
    found = {f"the log {name!r}": value for name, value in trainer.logs.current().items()}
    for name, net in trainer.networks.items():
        found[f"the gradient of {name}"] = net.gradient
        found |= {f"buffer {name} {k}": v for k, v in net.buffers.items() if v.is_floating_point()}
    return found


@per_case
def restored(case: Case) -> None:
    """Saved after any step (phase boundaries included), through `torch.save`, a run ends with the same bits.

    In another cohort, too: after the first of these steps the runs go on alone, after the others in reverse order.
    """
    saved: dict[int, bytes] = {}

    def save(trainer: Trainer) -> None:
        if trainer.at in {1, *trainer.schedule.ends} - {STEPS}:
            file = io.BytesIO()
            torch.save(run_states(trainer), file)
            saved[trainer.at] = file.getvalue()

    whole = case.trainer(case.seeds, STEPS)
    whole.train(save)
    expected = {seed: snapshot(whole, run) for run, seed in enumerate(case.seeds)}
    for step, content in saved.items():
        states = dict(zip(case.seeds, torch.load(io.BytesIO(content), weights_only=True), strict=True))
        for seeds in [(seed,) for seed in case.seeds] if step == 1 else [case.seeds[::-1]]:
            resumed = case.trainer(seeds, STEPS)
            load_run_states(resumed, [states[seed] for seed in seeds])
            resumed.train()
            for run, seed in enumerate(seeds):
                require_same(expected[seed], snapshot(resumed, run), f"uninterrupted and resumed after step {step}")


@per_case
def neighbours(case: Case) -> None:
    """Filling a run's weights with NaN changes no other run, and the run is marked from that step on."""
    seeds = (*case.seeds, len(case.seeds))
    clean, spoilt = _trained(case.trainer(seeds, STEPS)), case.trainer(seeds, STEPS)
    spoilt.train(lambda trainer: _spoil(trainer, 0) if trainer.at == 2 else None)
    for run in seeds[1:]:
        require_same(snapshot(clean, run), snapshot(spoilt, run), "beside a healthy and a diverged run")
    marks = spoilt.diverged_at.tolist()
    if marks != [2] + [-1] * (len(seeds) - 1):
        raise ConformanceError(f"the first run turned to NaN after 2 steps; steps of divergence found: {marks}")


def _spoil(trainer: Trainer, run: int) -> None:
    with torch.no_grad():
        for net in trainer.networks.values():
            for value in net.parameters.values():
                value[run].fill_(float("nan"))


def _trained(trainer: Trainer) -> Trainer:
    trainer.train()
    return trainer
