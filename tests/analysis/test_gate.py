"""The regression gate: its bound, its power, its false alarms, and what the exact tier compares."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.analysis.baseline import Baseline, Cell, Seen
from bench.analysis.gate import LEVEL, MARGIN, Judged, judge, numerics
from bench.errors import UsageError
from bench.reporting.gate import conclusion, gate_report

HERE = {"torch": "2.9", "processor": "this", "device": "cpu"}
OLD = [91.0, 92.0, 93.0, 94.0, 95.0]  # mean 93, standard deviation sqrt(2.5)


def cell(variant: str = "fm", budget: int = 20) -> Cell:
    return Cell(dataset="digits", protocol="common", variant=variant, budget=budget)


def seen(accuracies: Any, curve: str = "same", machine: dict[str, str] = HERE) -> tuple[Seen, ...]:
    """Runs by seed; None: failed."""
    return tuple(
        Seen(
            seed=seed, status="failed" if value is None else "done", accuracy=value, curve=value and f"{curve}{seed}",
            numerics=machine,
        )
        for seed, value in enumerate(accuracies)
    )  # fmt: skip


def one(now: Any, old: Any = OLD) -> Judged:
    (judged,) = judge({cell(): seen(old)}, {cell(): seen(now)})
    return judged


def test_the_bound_is_that_of_a_prediction_for_the_mean_of_k_runs() -> None:
    """t_{0.99, 4} = 3.746947 (tables); 93 - 3.746947 sqrt(2.5) sqrt(1/2 + 1/5) = 88.043."""
    judged = one([88.05, 88.05])
    assert judged.bound == pytest.approx(93 - 3.746947 * math.sqrt(2.5 * 0.7), abs=1e-5)
    assert not judged.regressed
    assert one([88.04, 88.04]).regressed
    assert one([99.0, 99.0]).p > 0.9


def test_a_small_drop_is_nobodys_concern_however_sure() -> None:
    steady = [93.0, 93.0, 93.01, 93.0, 93.0]
    assert not one([92.6, 92.6, 92.6], steady).regressed
    assert one([92.4, 92.4, 92.4], steady).regressed
    assert one([92.6] * 3, steady).bound == pytest.approx(93.002 - MARGIN)
    assert one([90.0] * 3, [93.0] * 5).regressed  # no spread at all
    assert not one([93.0] * 3, [93.0] * 5).regressed


def test_holm_asks_less_of_further_cells() -> None:
    """Two cells: the clearer one at 0.5 %, then the other at 1 %; alone, at 0.5 %, it would pass."""
    t = [float(stats.t.isf(p, 4)) * math.sqrt(2.5 * 0.7) for p in (0.001, 0.008)]
    before = {cell("fm"): seen(OLD), cell("triple"): seen(OLD)}
    both = judge(before, {cell("fm"): seen([93 - t[0]] * 2), cell("triple"): seen([93 - t[1]] * 2)})
    assert [judged.regressed for judged in both] == [True, True]
    second = judge(before, {cell("fm"): seen([93.0] * 2), cell("triple"): seen([93 - t[1]] * 2)})
    assert [judged.regressed for judged in second] == [False, False]


COMMITTED = Path(__file__).parents[2] / "results" / "gate-digits.json"


@pytest.mark.parametrize("how", [pytest.param("resampled", marks=pytest.mark.slow), "normal"])
def test_healthy_reruns_of_the_committed_baseline_raise_at_most_two_percent_alarms(how: str) -> None:
    """2,000 reruns of ten seeds: the baseline's runs drawn anew, or a normal of its moments."""
    rng, alarms = np.random.default_rng(0), 0
    before = dict(Baseline.read(COMMITTED).cells)
    accuracies = {c: np.array([run.accuracy for run in runs], dtype=float) for c, runs in before.items()}
    for _ in range(2000):
        draws = {
            c: rng.choice(own, size=10) if how == "resampled" else rng.normal(own.mean(), own.std(ddof=1), size=10)
            for c, own in accuracies.items()
        }
        alarms += any(judged.regressed for judged in judge(before, {c: seen(own) for c, own in draws.items()}))
    assert alarms / 2000 <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("skewed", "most"), [(False, 0.02), (True, 0.05)])
def test_false_alarms_when_the_baseline_is_drawn_as_well(skewed: bool, most: float) -> None:
    """Six cells of ten seeds, baseline and rerun anew each time: 1 % for normal accuracies; where half of the cells

    have a tail towards low ones (skewness -1), three times as many.
    """
    rng, alarms = np.random.default_rng(0), 0
    names = [cell("fm", budget) for budget in range(1, 7)]
    spreads = np.array([0.5, 1.5, 3.0, 0.5, 1.5, 3.0])[:, None]
    for _ in range(2000):
        both = 93 + spreads * rng.normal(size=(2, 6, 10))
        if skewed:
            both[:, :3] = 93 - spreads[:3] * rng.gamma(shape=4.0, scale=0.5, size=(2, 3, 10))
        before, now = ({c: seen(values) for c, values in zip(names, part, strict=True)} for part in both)
        alarms += any(judged.regressed for judged in judge(before, now))
    assert alarms / 2000 <= most
    assert alarms > 0  # of a bound that never alarms nothing would be known


def test_the_visible_drop_is_seen_in_80_percent_of_cases() -> None:
    rng = np.random.default_rng(1)
    before, now = 93 + rng.normal(size=(20_000, 10)), 93 + rng.normal(size=(20_000, 5))
    found = []
    for old, new in zip(before[:50], now[:50], strict=True):
        found.append(one(new, old).visible / old.std(ddof=1))
    assert np.ptp(found) < 1e-6  # in units of the spread it depends on n and k alone
    critical = stats.t.ppf(1 - LEVEL, 9)
    drop = before.mean(1) - (now - found[0]).mean(1)
    seen_share = (drop / (before.std(1, ddof=1) * math.sqrt(0.3)) > critical).mean()
    assert seen_share == pytest.approx(0.8, abs=0.01)


def test_failures_beyond_those_of_the_baseline_are_regressions() -> None:
    assert one([93.0, 93.0, None]).regressed
    assert one([93.0, 93.0, None]).broken == 1
    failing = [*OLD, None]
    assert not one([93.0, 93.0, None], failing).regressed
    assert one([93.0, None, None], failing).regressed
    assert one([None] * 5).regressed


def test_what_is_not_measured_is_not_judged() -> None:
    before = {cell(): seen(OLD), cell("triple"): seen(OLD)}
    fm, triple = judge(before, {cell(): seen(OLD)})
    assert (fm.measured, triple.measured, triple.regressed) == (True, False, False)
    assert not one([93.0]).measured
    report = gate_report([fm, triple], numerics(before, {}))
    assert "not measured" in report
    assert conclusion([fm, triple]) == "TOO LITTLE MEASURED: 1 of 2 cells: triple, 20 labels (digits, common)"
    assert conclusion([fm]) == "PASS: no regression in 1 cells"
    assert conclusion([fm, one([80.0, 80.0])]).startswith("REGRESSION in 1 of 2 cells: fm, 20 labels")


def test_the_exact_tier_compares_equal_seeds_on_equal_machines() -> None:
    before = {cell(): seen(OLD)}
    same = numerics(before, {cell(): seen(OLD[:3])})
    assert (same.compared, same.changed) == (3, ())
    changed = numerics(before, {cell(): (*seen(OLD[:2], "other"), *seen(OLD)[2:])})
    assert (changed.compared, changed.changed) == (5, ((cell(), 0), (cell(), 1)))
    elsewhere = numerics(before, {cell(): seen(OLD, "other", HERE | {"torch": "3.0"})})
    assert (elsewhere.compared, elsewhere.changed, elsewhere.elsewhere) == (0, (), ("torch 2.9 then, 3.0 now",))
    judged = judge(before, {cell(): seen(OLD)})
    assert "all 3 curves are equal to the bit" in gate_report(judged, same)
    assert "NUMERICS CHANGED in 2 of 5 curves (fm at 20 labels, seed 0, fm at 20 labels, seed 1)" in gate_report(
        judged, changed
    )
    assert "nothing to compare (torch 2.9 then, 3.0 now)" in gate_report(judged, elsewhere)


def test_a_baseline_is_written_and_read(tmp_path: Path) -> None:
    made = Baseline(name="s", suite={"variants": ["fm"]}, cells=((cell(), seen([*OLD, None])),))
    made.write(tmp_path / "b.json")
    assert Baseline.read(tmp_path / "b.json") == made
    assert len((tmp_path / "b.json").read_text().splitlines()) < 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "newer format 2.*Upgrade"),
        ({"cells": []}, "needs 3 finished runs per cell; not so: no cells"),
        ({"cells": [[cell().model_dump(), []]]}, "not so: fm, 20 labels"),
        ({"extra": 1}, "is no baseline"),
        ({"name": 3}, "is no baseline"),
    ],
)
def test_odd_baselines_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    Baseline(name="s", suite={}, cells=((cell(), seen(OLD)),)).write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match=message):
        Baseline.read(path)
    path.write_text("{")
    with pytest.raises(UsageError, match="not valid JSON"):
        Baseline.read(path)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        Baseline.read(tmp_path / "none.json")
