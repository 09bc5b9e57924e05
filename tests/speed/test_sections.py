"""The text of the report for made-up measurements, and the memory of a real small cohort."""

from __future__ import annotations

import pytest

from bench.speed.cases import case
from bench.speed.rounds import Timings
from bench.speed.sections import PARTS, Measured, limits, speed, targets
from bench.training.memory import state_bytes


def measured(hand: float, cohorts: dict[int, float], flops: int = 2 * 10**9) -> Measured:
    """Seconds per run-step; the square product of 2 * 1024^3 operations takes 1 s."""
    seconds = {"square product": [1.0], "hand-written": [hand], "plain loop": [2 * hand], "products alone": [hand / 4]}
    seconds |= {name: [hand / 100] for name in PARTS}
    return Measured(
        Timings(seconds | {f"cohort of {n}": [s] for n, s in cohorts.items()}, 1.0), flops, "loop", state=2**20
    )


def verdicts(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(("factor", "word"), [(1.1, "met"), (1.12, "missed")])
def test_targets_of_the_loop_executor(factor: float, word: str) -> None:
    rows = verdicts(targets(measured(1.0, {1: factor}), measured(1.0, {15: 0.4}), measured(1.0, {1: factor})))
    assert [row[3] for row in rows] == [word, word, "met", "met"]


@pytest.mark.parametrize(("factor", "word"), [(0.5, "met"), (0.52, "missed")])
def test_target_of_stacking(factor: float, word: str) -> None:
    rows = verdicts(targets(measured(1.0, {1: 1.0}), measured(2.0, {15: 2 * factor}), measured(1.0, {1: 1.0})))
    assert rows[2][2:] == [f"{factor:.2f} ({factor:.2f} to {factor:.2f})", word]


@pytest.mark.parametrize(("seconds", "share", "word"), [(2.0, "47 %", "met"), (2.5, "37 %", "missed")])
def test_goal_of_the_rate(seconds: float, share: str, word: str) -> None:
    """2e9 operations in 2 s against 2 * 1024^3 in 1 s: 46.6 %."""
    rows = verdicts(targets(measured(1.0, {1: seconds}), measured(1.0, {15: 0.4}), measured(1.0, {1: 1.0})))
    assert rows[3][2:] == [share, word]


def test_speed_table() -> None:
    text = speed("Title", "Why.", measured(0.5, {1: 0.6, 5: 0.25}), (1, 5))
    assert text.startswith("## Title\n\nWhy.\n\nGEMM rate (1024 x 1024): 2.1 GFLOP/s.")
    rows = verdicts(text)
    assert [row[0] for row in rows] == ["products alone", "hand-written", "plain loop", "cohort of 1", "cohort of 5"]
    assert rows[2][1:3] == ["1000.00 (1000.00 to 1000.00)", "2.00 (2.00 to 2.00)"]
    assert rows[3][1:] == ["600.00 (600.00 to 600.00)", "1.20 (1.20 to 1.20)", "3.3", "155 %"]


def test_shares_of_a_step_add_up() -> None:
    row = verdicts(limits({"MNIST": (measured(1.0, {1: 1.0}), 1)}))[0]
    assert row == ["MNIST, cohort of 1", "25.0 %", "1.0 %", "1.0 %", "1.0 %", "1.0 %", "71.0 %"]


@pytest.mark.slow
def test_state_of_a_cohort_grows_by_run() -> None:
    """Digits: five floats per weight of D (weight, gradient, two moments, average), four per weight of G."""
    chosen = case("digits")
    sizes = []
    for runs in (2, 4):
        trainer = chosen.trainer(runs)
        trainer.step()
        sizes.append(state_bytes(trainer))
    d = sum(p.numel() for p in trainer.networks["discriminator"].template.parameters())
    g = sum(p.numel() for p in trainer.networks["generator"].template.parameters())
    fixed_scales = sum(chosen.recipe.classifier)  # as buffers, live and averaged
    padding = 4 * (5 + 4) * 64
    assert (sizes[1] - sizes[0]) / 2 == pytest.approx(4 * (5 * d + 4 * g + 2 * fixed_scales), abs=padding)
