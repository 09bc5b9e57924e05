"""Timing of alternatives against each other on a machine that has other work: interleaved rounds, medians of ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Alternative(NamedTuple):
    call: Callable[[], object]
    units: int = 1  # what one call does: run-steps


class Effort(NamedTuple):
    rounds: int
    seconds: float  # per alternative and round, rounded to whole calls, at least one


class Spread(NamedTuple):
    """Over the rounds."""

    median: float
    low: float
    high: float

    def text(self, digits: int, factor: float = 1.0) -> str:
        median, low, high = (f"{factor * value:.{digits}f}" for value in self)
        return f"{median} ({low} to {high})"


class Timings:
    """Processor seconds per unit of each alternative, `seconds[name][round]`, and wall time per processor time."""

    def __init__(self, seconds: Mapping[str, Sequence[float]], wall: float) -> None:
        self.seconds, self.wall = seconds, wall

    def of(self, name: str) -> Spread:
        return spread(self.seconds[name])

    def ratio(self, name: str, to: str) -> Spread:
        """Seconds of `name` per second of `to`, round by round: what slows a whole round cancels."""
        return spread([a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True)])


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def measure(alternatives: Mapping[str, Alternative], effort: Effort) -> Timings:
    """Runs all alternatives in turn, round after round, every second round backwards.

    Processor time of this process: nothing here waits, so on a quiet machine it is the wall time, and on another one it
    leaves out the moments in which other processes had the core.
    """
    calls = {name: _calls(alternative.call, effort.seconds) for name, alternative in alternatives.items()}
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    wall, start = time.perf_counter(), time.process_time()
    for index in range(effort.rounds):
        for name in list(alternatives)[:: 1 if index % 2 == 0 else -1]:
            seconds[name].append(_timed(alternatives[name].call, calls[name]) / calls[name] / alternatives[name].units)
    return Timings(seconds, (time.perf_counter() - wall) / (time.process_time() - start))


def _timed(call: Callable[[], object], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        call()
    return time.process_time() - start


def _calls(call: Callable[[], object], seconds: float) -> int:
    """How many calls fill a slice of time; the first call, which may set things up, does not count."""
    call()
    return max(1, round(seconds / max(_timed(call, 1), 1e-9)))
