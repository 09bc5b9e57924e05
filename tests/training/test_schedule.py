"""Phases laid out over steps, and where evaluations fall."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import registry
from bench.training.schedule import Schedule
from bench.variant import Phase, Player


def phases(*shares: float) -> list[Phase]:
    return [Phase(f"p{i}", share, ()) for i, share in enumerate(shares)]


def lengths(schedule: Schedule) -> dict[str, int]:
    names = [schedule.phase(step).name for step in range(schedule.steps)]
    assert names == sorted(names)  # p0, p1, ...: every phase is one stretch, in order
    return {name: names.count(name) for name in dict.fromkeys(names)}


def test_shares() -> None:
    assert lengths(Schedule(phases(1.0), 7, 1)) == {"p0": 7}
    assert lengths(Schedule(phases(1, 3), 100, 1)) == {"p0": 25, "p1": 75}
    assert lengths(Schedule(phases(0.5, 0, 0.5), 10, 1)) == {"p0": 5, "p2": 5}  # without a share: not there


def test_triple_gan_at_100_labels() -> None:
    schedule = Schedule(phases(3600, 180_000.0, 420_000.0), 603_600, 60)
    edges = [schedule.phase(step).name for step in (0, 3599, 3600, 183_599, 183_600, 603_599)]
    assert edges == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert lengths(Schedule(phases(3600, 180_000.0, 420_000.0), 1006, 1)) == {"p0": 6, "p1": 300, "p2": 700}


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=6), st.integers(1, 300))
def test_every_phase_gets_a_step_and_its_share(shares: list[float], steps: int) -> None:
    found = lengths(Schedule(phases(*shares), steps, 1))
    assert sum(found.values()) == steps
    if steps >= len(shares):
        assert len(found) == len(shares)
        wanted = [share / sum(shares) * steps for share in shares]
        if min(wanted) >= 1:
            assert [abs(n - w) <= 1 for n, w in zip(found.values(), wanted, strict=True)] == [True] * len(shares)


def test_phases_entered_so_far() -> None:
    schedule = Schedule(phases(1, 1, 2), 8, 1)
    names = [[phase.name for phase in schedule.entered(step)] for step in (0, 1, 2, 3, 4, 5, 8)]
    assert names == [
        [], ["p0"], ["p0"], ["p0", "p1"], ["p0", "p1"], ["p0", "p1", "p2"], ["p0", "p1", "p2"]
    ]  # fmt: skip


@given(st.integers(1, 2000), st.integers(1, 100))
def test_evaluations_are_spread_evenly_and_end_with_the_last_step(steps: int, evaluations: int) -> None:
    points = sorted(Schedule(phases(1), steps, evaluations).evaluations)
    assert points[-1] == steps
    assert points[0] >= 1
    assert len(points) == min(steps, evaluations)
    gaps = [b - a for a, b in pairwise([0, *points])]
    assert max(gaps) - min(gaps) <= 1 if steps >= evaluations else max(gaps) == 1


def test_evaluations_of_the_papers_recipes() -> None:
    points = Schedule(phases(1), 180_000, 60).evaluations
    assert points == set(range(3000, 180_001, 3000))
    assert Schedule(phases(1), 10, 4).evaluations == {2, 5, 8, 10}


def test_at_least_30_evaluations_in_every_recipe_for_mnist_and_digits() -> None:
    for name in registry.names():
        kind = registry.get(name)
        for table in kind.recipes.values() if kind.beats_chance else ():
            assert "grey" not in table or table["grey"].evaluations >= 30


@pytest.mark.parametrize("steps", [1, 2])
def test_fewer_steps_than_phases(steps: int) -> None:
    assert sum(lengths(Schedule(phases(1, 1, 1), steps, 1)).values()) == steps


def test_players_of_a_phase_need_names_of_their_own() -> None:
    """Optimiser state goes by them."""
    player = Player("a", ("a",), print, 0.1)
    with pytest.raises(ValueError, match="players need names of their own, not a, a"):
        Phase("main", 1.0, (player, player))
