"""One phase of a variant by itself, to be measured for as long as one likes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bench.training.schedule import Schedule
from bench.variant import Variant


def only(variant: Variant, phase: str) -> Variant:
    """The variant with one phase, which then takes all steps."""
    found = tuple(replace(p, share=1.0) for p in variant.phases() if p.name == phase)
    variant.phases = lambda: found  # type: ignore[method-assign]
    return variant


def shares(variant: Variant) -> Mapping[str, float]:
    """The share of each phase in the steps of the recipe's full schedule; phases without steps are left out."""
    steps = variant.steps()
    schedule = Schedule(variant.phases(), steps, 1)
    starts = [0, *schedule.ends]
    found = zip(schedule.phases, starts, schedule.ends, strict=False)
    return {phase.name: (end - start) / steps for phase, start, end in found if end > start}
