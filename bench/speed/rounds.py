"""Timing of alternatives against each other on a machine that has other work: interleaved rounds, medians of ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

CPU = torch.device("cpu")
BEFORE_ON_GPU = 16  # calls before any is timed: steps of each kind are tried some times, and then captured


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
    """Seconds per unit of each alternative, `seconds[name][round]`, and wall time per second of the clock."""

    def __init__(self, seconds: Mapping[str, Sequence[float]], wall: float) -> None:
        self.seconds, self.wall = seconds, wall

    def of(self, name: str) -> Spread:
        return spread(self.seconds[name])

    def ratio(self, name: str, to: str) -> Spread:
        """Seconds of `name` per second of `to`, round by round: what slows a whole round cancels."""
        return spread([a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True)])


def weighted(parts: Sequence[tuple[float, Timings]]) -> Timings:
    """Of something whose parts take these shares of its units: the mean of the parts, round by round."""
    total, names = sum(share for share, _ in parts), parts[0][1].seconds
    rounds = {
        name: zip(*([share / total * s for s in timings.seconds[name]] for share, timings in parts), strict=True)
        for name in names
    }
    wall = sum(share * timings.wall for share, timings in parts) / total
    return Timings({name: [sum(shares) for shares in found] for name, found in rounds.items()}, wall)


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def measure(alternatives: Mapping[str, Alternative], effort: Effort, device: torch.device = CPU) -> Timings:
    """Runs all alternatives in turn, round after round, every second round backwards.

    On a CPU processor time of this process: nothing here waits, so on a quiet machine it is the wall time, and on
    another one it leaves out the moments in which other processes had the core. On another device wall time, from an
    idle device to an idle device.
    """
    clock = clock_of(device)
    first = 1 if device.type == "cpu" else BEFORE_ON_GPU
    calls = {name: _calls(alternative.call, first, effort.seconds, clock) for name, alternative in alternatives.items()}
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    wall, start = time.perf_counter(), clock()
    for index in range(effort.rounds):
        for name in list(alternatives)[:: 1 if index % 2 == 0 else -1]:
            taken = timed(alternatives[name].call, calls[name], clock)
            seconds[name].append(taken / calls[name] / alternatives[name].units)
    return Timings(seconds, (time.perf_counter() - wall) / (clock() - start))


def clock_of(device: torch.device) -> Callable[[], float]:
    if device.type == "cpu":
        return time.process_time

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def timed(call: Callable[[], object], times: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(times):
        call()
    return clock() - start


def _calls(call: Callable[[], object], first: int, seconds: float, clock: Callable[[], float]) -> int:
    """How many calls fill a slice of time; the `first` ones, which may set things up, do not count."""
    timed(call, first, clock)
    return max(1, round(seconds / max(timed(call, 1, clock), 1e-9)))
