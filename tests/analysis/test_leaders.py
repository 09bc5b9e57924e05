"""Who shares the first place of a column: against scipy's own test and a correction by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.leaders import leaders

SEEDS = range(8)


def frame(values: dict[str, list[float]], **columns: object) -> pd.DataFrame:
    rows = [
        {
            **{"dataset": "digits", "protocol": "common", "variant": name, "base_variant": name, "budget": 20},
            **{"seed": seed, "status": "done" if value == value else "failed", "accuracy": value},
            **{"errors": 100 - value, "test_images": 100},
            **columns,
        }
        for name, own in values.items()
        for seed, value in enumerate(own)
    ]
    return pd.DataFrame(rows)


def names(found: set[tuple[str, str, str, int]]) -> set[str]:
    return {variant for _, _, variant, _ in found}


def noisy(mean: float, spread: float, seed: int) -> list[float]:
    return [float(x) for x in mean + spread * np.random.default_rng(seed).standard_normal(len(SEEDS))]


def test_whoever_some_other_beats_after_the_correction_stays_behind() -> None:
    values = {"a": noisy(90, 1, 0), "b": noisy(89.5, 1, 1), "c": noisy(87.6, 1, 2), "d": noisy(80, 1, 3)}
    pairs = [(x, y) for i, x in enumerate(values) for y in list(values)[i + 1 :]]
    p = {pair: stats.ttest_rel(values[pair[0]], values[pair[1]]).pvalue for pair in pairs}
    beaten, rejected = set(), True
    for rank, pair in enumerate(sorted(pairs, key=p.__getitem__)):  # Holm's steps
        rejected = rejected and p[pair] * (len(pairs) - rank) < 0.05
        if rejected:
            beaten.add(min(pair, key=lambda name: np.mean(values[name])))
    assert names(leaders(frame(values))) == set(values) - beaten
    assert {"a"} < set(values) - beaten < set(values)  # the case is worth something


def test_a_noisy_best_does_not_lift_what_another_beats() -> None:
    noisiest = [99.0, 99, 99, 60, 99, 99, 60, 99]
    values = {
        "lucky": noisiest,
        "steady": [88.0, 88.1, 87.9, 88, 88.2, 87.8, 88, 88.1],
        "low": [80.0 + i / 10 for i in SEEDS],
    }
    assert np.mean(noisiest) > 88.1
    assert stats.ttest_rel(noisiest, values["low"]).pvalue > 0.05
    assert names(leaders(frame(values))) == {"lucky", "steady"}


def test_the_fewest_errors_lead() -> None:
    values = {"a": [90.0, 91, 92], "b": [50.0, 51.5, 52]}
    for metric in ("accuracy", "error", "errors"):
        assert names(leaders(frame(values), metric)) == {"a"}


def test_without_a_test_the_means_decide() -> None:
    elsewhere = frame({"b": [89.0, 89], "c": [90.0, 90]}).assign(seed=lambda runs: runs["seed"] + 7)
    assert names(leaders(pd.concat([frame({"a": [90.0, 90]}), elsewhere]))) == {"a", "c"}
    assert names(leaders(frame({"a": [90.0, 80.0], "b": [89.0, 79.0]}))) == {"a"}


def test_failed_runs_make_no_pair_and_cells_without_runs_do_not_lead() -> None:
    nan = float("nan")
    assert names(leaders(frame({"a": [90.0, 90.5, nan], "b": [70.0, 71.5, 72], "c": [nan, nan, nan]}))) == {"a"}


@pytest.mark.parametrize("change", [{"protocol": "smoke"}, {"protocol": "smoke (random)"}])
def test_nothing_leads_in_smoke_runs_and_alone(change: dict[str, str]) -> None:
    assert leaders(frame({"a": [90.0, 91], "b": [50.0, 52]}, **change)) == set()
    assert leaders(frame({"a": [90.0, 91]})) == set()


def test_one_run_each_is_no_race() -> None:
    assert leaders(frame({"a": [90.0], "b": [50.0]})) == set()


def test_a_single_lucky_survivor_neither_leads_nor_pushes_others_out() -> None:
    nan = float("nan")
    values = {"lucky": [99.0, nan, nan], "a": [90.0, 90.5, 91.2], "b": [70.0, 71.5, 72]}
    assert names(leaders(frame(values))) == {"a"}


def test_columns_are_judged_apart() -> None:
    one, other = frame({"a": [90.0, 91.5], "b": [50.0, 52]}), frame({"a": [50.0, 52], "b": [90.0, 91.5]}, budget=50)
    found = leaders(pd.concat([one, other]))
    assert found == {("digits", "common", "a", 20), ("digits", "common", "b", 50)}
