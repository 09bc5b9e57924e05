"""Rounds on a clock that only the alternatives move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.speed import rounds
from bench.speed.rounds import Alternative, Effort, Timings, measure


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def work(self, name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.calls.append(name)
            self.now += seconds

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(rounds.time, "process_time", lambda: made.now)
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: 2 * made.now)
    return made


def test_seconds_per_unit_and_interleaving(clock: Clock) -> None:
    alternatives = {"slow": Alternative(clock.work("slow", 3.0)), "fast": Alternative(clock.work("fast", 0.5), units=5)}
    timings = measure(alternatives, Effort(2, 1.0))
    assert timings.seconds["slow"] == [3.0, 3.0]
    assert timings.seconds["fast"] == pytest.approx([0.1, 0.1])
    assert timings.wall == pytest.approx(2.0)
    warm_up = ["slow", "slow", "fast", "fast"]  # the first call is not counted, the second tells how many fill a slice
    assert clock.calls == [*warm_up, "slow", "fast", "fast", "fast", "fast", "slow"]


def test_ratios_are_taken_within_rounds() -> None:
    """A round that is four times slower moves the medians of the times, but no ratio."""
    timings = Timings({"a": [1.0, 4.0, 8.0], "b": [2.0, 8.0, 8.0]}, wall=1.0)
    assert timings.of("a") == (4.0, 1.0, 8.0)
    assert timings.ratio("a", "b") == (0.5, 0.5, 1.0)
    assert timings.ratio("a", "b").text(2) == "0.50 (0.50 to 1.00)"
    assert timings.of("a").text(1, 1e3) == "4000.0 (1000.0 to 8000.0)"
