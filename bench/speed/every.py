"""Every variant beside a plain loop of its own arithmetic, in all of its phases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch

from bench import registry
from bench.datasets import Dataset
from bench.errors import UsageError, running
from bench.grid import task_of
from bench.speed.phases import shares
from bench.speed.plain import PlainLoop
from bench.speed.rounds import CPU, Alternative, Effort, Timings, clock_of, measure, timed, weighted
from bench.speed.setup import BUDGET, Setup
from bench.speed.tables import cohort, table, verdict
from bench.training.trainer import Trainer
from bench.variant import Variant

PLAIN, STACKED = "plain loop", 15
LEAST_SHARE = 0.02  # of the steps: shorter phases are not measured
LOOP, STACK, LARGE_STACK = 1.1, 0.5, 0.8  # at most, in time per run-step relative to the plain loop's
LARGE = 2**17  # elements of a weight, above which arithmetic and not calls takes the time


class Limits(NamedTuple):
    """How much time a variant may take."""

    effort: Effort
    longest: float  # seconds that a step of the plain loop may last
    phases: int = 99  # that are measured, those with most steps


@dataclass(frozen=True)
class Result:
    """What was measured of a variant: the plain loop and cohorts, each phase by its share of the steps."""

    executor: str
    timings: Timings
    covered: float  # share of the steps that the measured phases have
    largest: int  # runs of the largest cohort: the one that the target is about
    most: float  # the target: time per run-step relative to the plain loop's


class TooLongError(Exception):
    """A step takes more time than there is for it."""


def measure_setup(
    setup: Setup,
    limits: Limits,
    device: torch.device = CPU,
    stacked: int = STACKED,
    beside: Mapping[str, Alternative] | None = None,
) -> Result:
    """Times the plain loop, a cohort of 1 and, where stacking pays, one of `stacked`; in turn with what is `beside`.

    Raises:
        TooLongError: a step of some phase lasts too long.
    """
    found, covered = [], measured_phases(setup, limits)
    for phase, share in covered.items():
        plain = setup.plain(phase, device)
        _check_length(plain, phase, limits.longest, device)
        trainers = [setup.trainer(1, phase, device)]
        if trainers[0].executor.name == "vmap":
            trainers.append(setup.trainer(stacked, phase, device))
        alternatives = {cohort(trainer.runs): Alternative(trainer.step, trainer.runs) for trainer in trainers}
        alternatives |= {PLAIN: Alternative(plain.step), **(beside or {})}
        found.append((share, measure(alternatives, limits.effort, device)))
    first, share = trainers[0], sum(covered.values())
    return Result(first.executor.name, weighted(found), share, trainers[-1].runs, at_most(first))


def at_most(trainer: Trainer) -> float:
    """The target for a cohort of its sort."""
    if trainer.executor.name == "loop":
        return LOOP
    largest = max(p[0].numel() for net in trainer.networks.values() for p in net.parameters.values())
    return STACK if largest <= LARGE else LARGE_STACK


def measured_phases(setup: Setup, limits: Limits) -> dict[str, float]:
    """The phases that are measured, with their shares of the steps."""
    found = {phase: share for phase, share in shares(setup.made()).items() if share >= LEAST_SHARE}
    longest = sorted(found, key=lambda phase: -found[phase])[: limits.phases]
    return {phase: found[phase] for phase in longest}


def _check_length(plain: PlainLoop, phase: str, longest: float, device: torch.device) -> None:
    plain.step()
    seconds = timed(plain.step, 1, clock_of(device))
    if seconds > longest:
        raise TooLongError(f"a step of its phase {phase!r} takes {seconds:.1f} s")


def section(names: Sequence[str], protocol: str, dataset: Dataset, where: str, limits: Limits) -> str:
    """A table with a row per variant, and what was left out."""
    rows, left_out = [], []
    for name, result in _results(names, protocol, dataset, limits):
        if isinstance(result, Result):
            rows.append(_row(name, result))
        else:
            left_out.append(f"`{name}`: {result}")
    header = (
        "", "executor", "plain loop, ms", f"{cohort(1)}, ms", "relative", f"{cohort(STACKED)}, ms per run", "relative",
        "target", "",
    )  # fmt: skip
    note = f"Left out: {'; '.join(left_out)}." if left_out else "None is left out."
    return f"### Recipe `{protocol}` on {where}\n\n{note}\n\n" + (table(header, rows) if rows else "")


def explanation(limits: Mapping[str, Limits]) -> str:
    rounds = ", ".join(f"{found.effort.rounds} with recipe `{name}`" for name, found in limits.items())
    longest = ", ".join(f"{found.longest:g} s with recipe `{name}`" for name, found in limits.items())
    phases = max(found.phases for found in limits.values())
    only = "Only its longest phase" if phases == 1 else "Each phase"
    return (
        "## Every variant\n\n"
        "One run in a plain loop (the variant's own modules, eager PyTorch, torch's fused optimisers) and the trainer, "
        f"in processor time per run-step; {BUDGET} labels. The modules are written to have the same bits in every "
        "cohort; what others, without that promise, would save is the difference of both loops in the whole report's "
        f"first sections. {only} is measured, by itself, and counts by its share of the steps; phases with less than "
        f"{LEAST_SHARE:.0%} of them are left out. Relative: to the plain loop, the median (smallest to largest) over "
        f"rounds: {rounds}. Left out are variants of which a step of the plain loop lasts longer than {longest}.\n"
    )


def _results(
    names: Sequence[str], protocol: str, dataset: Dataset, limits: Limits
) -> Iterator[tuple[str, Result | str]]:
    for name in names:
        kind = registry.get(name)
        try:
            yield name, _measured(kind, protocol, dataset, limits)
        except (UsageError, TooLongError) as reason:  # one variant must not take the others' numbers with it
            yield name, str(reason).rstrip(".")


def _measured(kind: type[Variant], protocol: str, dataset: Dataset, limits: Limits) -> Result:
    with naming(kind):
        return measure_setup(setup_of(kind, protocol, dataset), limits)


def setup_of(kind: type[Variant], protocol: str, dataset: Dataset) -> Setup:
    """
    Raises:
        UsageError: the variant has no such recipe.
    """
    shape_class = task_of(dataset, BUDGET, 0, None).shape_class
    return Setup(kind, kind.recipe_for(protocol, dataset.name, shape_class), dataset)


@contextmanager
def naming(kind: type[Variant]) -> Iterator[None]:
    """Around the measurement of a variant: what its own code raises becomes a UsageError that names it."""
    try:
        yield
    except (TooLongError, torch.OutOfMemoryError):
        raise
    except Exception:
        with running(kind.name, kind.__module__):
            raise


def _row(name: str, result: Result) -> tuple[str, ...]:
    timings = result.timings
    cells = [name if result.covered > 0.9995 else f"{name} ({result.covered:.1%} of steps)", result.executor]
    cells.append(f"{1e3 * timings.of(PLAIN).median:.2f}")
    for runs in (1, STACKED):
        there = cohort(runs) in timings.seconds
        cells.append(f"{1e3 * timings.of(cohort(runs)).median:.2f}" if there else "")
        cells.append(timings.ratio(cohort(runs), PLAIN).text(2) if there else "")
    largest = cohort(result.largest)
    met = timings.ratio(largest, PLAIN).median <= result.most
    return (*cells, f"{largest}: at most {result.most}", verdict(met))
