"""Comparisons against published examples, brute force and simulated false alarms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.cells import summary
from bench.analysis.comparison import (
    COLUMNS,
    compare,
    comparisons,
    holm,
    quartiles,
    smallest_wilcoxon,
    superiority,
    t_test,
    wilcoxon,
)
from bench.analysis.paired import paired
from bench.analysis.runs import runs_frame, select
from bench.errors import UsageError
from bench.store import Record

MakeRecord = Callable[..., Record]

# Student's sleep data (Biometrika 6, 1908), hours gained with two drugs; R: t.test(extra ~ group, paired)
SLEEP = pd.Series([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SLEEP_2 = pd.Series([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
# Darwin's maize: differences in height of 15 pairs, crossed minus self-fertilised
MAIZE = pd.Series([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48.0])


# --- the tests -------------------------------------------------------------------------------------------------------


def test_student_s_own_example() -> None:
    found = compare(SLEEP, SLEEP_2)
    assert (found["n"], found["unpaired"]) == (10, 0)
    assert found["difference"] == pytest.approx(-1.58)
    assert [found["low"], found["high"]] == pytest.approx([-2.459886, -0.700114], abs=1e-6)
    assert found["t_p"] == pytest.approx(0.002833, abs=1e-6)
    assert found["superiority"] == 0.05  # nine seeds worse, one equal
    # sd 1.2300 of the differences: 0.99600 sd are detectable at n = 10; an effect of 1.2846 needs 7 (G*Power)
    assert found["detectable"] == pytest.approx(0.99600 * 1.22995, abs=1e-4)
    assert found["seeds_needed"] == 7


def test_wilcoxon_on_darwin_s_maize() -> None:
    assert wilcoxon(MAIZE) == pytest.approx(0.041259765625)  # 1352 of 2^15, as in SciPy's documentation


@pytest.mark.parametrize("differences", [SLEEP - SLEEP_2, pd.Series([1, -1, 1, 2, 2, -2, 0, 3.0]), MAIZE[:9] // 10])
def test_wilcoxon_with_ties_by_all_signs(differences: pd.Series[float]) -> None:
    nonzero = differences.round(9)[differences.round(9) != 0].to_numpy()
    ranks = stats.rankdata(np.abs(nonzero))
    signs = np.array(list(itertools.product([-1, 1], repeat=len(nonzero))))
    observed = abs((ranks * np.sign(nonzero)).sum())
    expected = (np.abs(signs @ ranks) >= observed - 1e-9).mean()
    assert wilcoxon(differences.round(9)) == pytest.approx(expected)


@pytest.mark.parametrize("n", [6, 10, 25, 50])
def test_wilcoxon_without_ties_is_scipy_s_exact_test(n: int) -> None:
    differences = pd.Series(np.random.default_rng(n).normal(0.3, 1, n))
    assert wilcoxon(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


@pytest.mark.parametrize(("n", "least"), [(2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125), (10, 1 / 512)])
def test_the_smallest_p_of_wilcoxon(n: int, least: float) -> None:
    assert smallest_wilcoxon(n) == least
    assert wilcoxon(pd.Series(np.arange(1.0, n + 1))) == pytest.approx(least)


def test_differences_that_are_all_the_same() -> None:
    assert t_test(pd.Series([0.0] * 5)) == wilcoxon(pd.Series([0.0] * 5)) == 1
    assert math.isnan(t_test(pd.Series([0.2] * 5)))
    assert wilcoxon(pd.Series([0.2] * 5)) == pytest.approx(0.0625)


@pytest.mark.parametrize("n", [0, 1])
def test_no_test_below_two_pairs(n: int) -> None:
    found = compare(SLEEP[:n], SLEEP_2)
    assert (found["n"], found["unpaired"]) == (n, 10 - n)
    assert all(math.isnan(found[name]) for name in ("se", "low", "high", "t_p", "wilcoxon_p", "detectable"))
    assert found["seeds_needed"] is None


def test_superiority_counts_ties_by_half() -> None:
    assert superiority(pd.Series([1.0, 2.0, 0.0, -1.0])) == 0.625
    assert math.isnan(superiority(pd.Series(dtype=float)))


def test_rounding_does_not_break_ties() -> None:
    """87.6 - 87.4 and 90.2 - 90.0 are one difference, +0.2; 0.1 + 0.2 and 0.3 are equal."""
    found = compare(pd.Series([87.6, 90.2, 0.1 + 0.2, 50.0]), pd.Series([87.4, 90.0, 0.3, 50.2]))
    assert found["superiority"] == 0.625
    assert found["wilcoxon_p"] == 1  # ranks 2, 2 against 2: W+ = 4, of 0, 2, 4, 6 with chances 1, 3, 3, 1 of 8


def test_holm_by_hand() -> None:
    """R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") = 0.03 0.06 0.06 0.02."""
    assert list(holm(pd.Series([0.01, 0.04, 0.03, 0.005]))) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    with_gap = holm(pd.Series([0.01, np.nan, 0.04, 0.03, 0.005], index=list("vwxyz")))
    assert list(with_gap.index) == list("vwxyz")
    assert list(with_gap.dropna()) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert list(holm(pd.Series([0.9, 0.4]))) == pytest.approx([0.9, 0.8])
    assert list(holm(pd.Series([0.6, 0.7]))) == [1, 1]
    assert holm(pd.Series([np.nan, np.nan])).isna().all()


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def frame(record: MakeRecord) -> pd.DataFrame:
    """Wrong images of 200: fm fails on seed 2 of 20 labels, supervised has not done seed 3 there; ct has one seed."""
    wrong = {
        **{("fm", 20): [20, 24, 0, 31], ("supervised", 20): [40, 50, 43], ("ct", 20): [20]},
        **{("fm", 50): [10, 11, 12, 16], ("supervised", 50): [20, 19, 18, 30], ("ct", 50): [10]},
    }
    runs = [
        record([e], variant=v, budget=b, seed=s, status="diverged" if (v, b, s) == ("fm", 20, 2) else "done")
        for (v, b), errors in wrong.items()
        for s, e in enumerate(errors)
    ]
    return runs_frame(runs, "last")


def test_all_pairs_of_each_budget(frame: pd.DataFrame) -> None:
    table = comparisons(frame)
    assert list(table.columns) == COLUMNS
    pairs = [("ct", "fm"), ("ct", "supervised"), ("fm", "supervised")]  # the baseline is always b
    found = list(table[["budget", "a", "b"]].itertuples(index=False, name=None))
    assert found == [(budget, a, b) for budget in (20, 50) for a, b in pairs]
    assert list(table["n"]) == [1, 1, 2, 1, 1, 4]
    assert list(table["unpaired"]) == [3, 2, 2, 3, 3, 0]
    few, many = table.iloc[2], table.iloc[5]
    assert few["difference"] == pytest.approx((10 + 13) / 2)  # points: half the difference in wrong images
    expected = stats.ttest_rel([95, 94.5, 94, 92], [90, 90.5, 91, 85])
    assert [many["difference"], many["t_p"]] == pytest.approx([4.75, expected.pvalue])
    assert [many["low"], many["high"]] == pytest.approx(list(expected.confidence_interval(0.95)))
    assert (many["superiority"], many["wilcoxon_p"]) == (1, 0.125)


def test_holm_s_family_is_all_pairs_of_a_dataset_and_protocol(frame: pd.DataFrame) -> None:
    other = frame.assign(protocol="paper")
    table = comparisons(pd.concat([frame, other], ignore_index=True))
    for _, family in table.groupby("protocol"):
        p = family["t_p"].dropna()
        assert len(p) == 2  # those of both budgets that have two pairs
        small, large = sorted(p)
        assert sorted(family["t_holm"].dropna()) == pytest.approx([2 * small, max(2 * small, large)])
        assert list(family["wilcoxon_holm"].dropna()) == pytest.approx([0.5, 0.25])


@pytest.mark.parametrize(("metric", "difference"), [("accuracy", 4.75), ("error", -4.75), ("errors", -9.5)])
def test_better_means_fewer_errors(frame: pd.DataFrame, metric: str, difference: float) -> None:
    row = comparisons(frame, metric).iloc[5]
    assert (row["difference"], row["superiority"]) == (pytest.approx(difference), 1)


def test_pairs_follow_the_order_asked_for(frame: pd.DataFrame) -> None:
    table = comparisons(select(frame, ["supervised", "fm", "ct"]))
    assert list(zip(table["a"], table["b"], strict=True))[:3] == [
        ("fm", "ct"),
        ("fm", "supervised"),
        ("ct", "supervised"),
    ]


def test_quartiles_beside_the_cells(frame: pd.DataFrame) -> None:
    table = quartiles(frame, "errors").set_index(["variant", "budget"])
    assert list(table.loc[("fm", 50), ["n", "median", "q1", "q3"]]) == [4, 11.5, 10.75, 13]
    assert list(table.loc[("fm", 20), ["n", "failed", "q1", "q3"]]) == [3, 1, 22, 27.5]
    assert list(table.index)[:2] == [("supervised", 20), ("supervised", 50)]


def test_nothing_to_compare(record: MakeRecord) -> None:
    assert comparisons(runs_frame([record([1])], "last")).empty
    assert list(comparisons(runs_frame([], "last")).columns) == COLUMNS
    assert quartiles(runs_frame([], "last")).empty
    failed = [record([], variant=v, status="failed") for v in ("ct", "fm")]
    row = comparisons(runs_frame(failed, "last")).iloc[0]
    assert (row["n"], row["unpaired"]) == (0, 1)
    with pytest.raises(UsageError, match="unknown metric"):
        quartiles(runs_frame([record([1])], "last"), "eror")


# --- simulations: what is promised at the small numbers of seeds that people run -------------------------------------

SIMULATIONS = 1500  # a rate of 5 % has a standard error of 0.6 points


@cache
def normal(n: int) -> pd.DataFrame:
    """Results of experiments in which both variants are alike and share the luck of the labelled images."""
    rng = np.random.default_rng(n)
    split = rng.normal(90, 3, size=(SIMULATIONS, n))
    pairs = split + rng.normal(0, 1, size=(2, SIMULATIONS, n))
    rows = []
    for a, b in zip(pairs[0], pairs[1], strict=True):
        one, other = pd.Series(a), pd.Series(b)
        cell, pair = summary(one), paired(one, other)
        rows.append(
            {
                "cell": cell["ci_low"] <= 90 <= cell["ci_high"],
                "pair": pair["low"] <= 0 <= pair["high"],
                "t": t_test(one - other) < 0.05,
                "wilcoxon": wilcoxon(one - other) < 0.05,
            }
        )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("n", [5, 10])
def test_intervals_cover_what_they_say(n: int) -> None:
    assert normal(n)["cell"].mean() == pytest.approx(0.95, abs=0.02)
    assert normal(n)["pair"].mean() == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("n", "of_wilcoxon"), [(5, 0.0), (10, 50 / 1024)])
def test_false_alarms_of_one_test(n: int, of_wilcoxon: float) -> None:
    """Wilcoxon's own rate at n = 10: 50 of 1,024 outcomes have a rank sum of at most 8 on one side."""
    assert normal(n)["t"].mean() == pytest.approx(0.05, abs=0.01)
    assert normal(n)["wilcoxon"].mean() == pytest.approx(of_wilcoxon, abs=0.015)


@pytest.mark.parametrize(("n", "least", "most"), [(5, 0.37, 0.46), (10, 0.59, 0.68)])
def test_where_one_run_in_ten_collapses_intervals_cover_less(n: int, least: float, most: float) -> None:
    """95 ± 1, but one run in ten somewhere from 20 to 70: the interval of runs without a collapse misses the mean.

    So the report says, and shows median, quartiles and minimum beside the mean.
    """
    rng = np.random.default_rng(n)
    collapsed = rng.random((SIMULATIONS, n)) < 0.1
    values = np.where(collapsed, rng.uniform(20, 70, (SIMULATIONS, n)), rng.normal(95, 1, (SIMULATIONS, n)))
    mean = 0.9 * 95 + 0.1 * 45
    intervals = [summary(pd.Series(sample)) for sample in values]
    covered = np.mean([interval["ci_low"] <= mean <= interval["ci_high"] for interval in intervals])
    assert least < covered < most


def test_holm_holds_the_family_s_error_rate() -> None:
    """Six comparisons of four variants that are alike: at most one family in twenty has any false alarm."""
    variants = np.random.default_rng(6).normal(size=(4, SIMULATIONS, 10))
    p = [stats.ttest_rel(variants[a], variants[b], axis=1).pvalue for a, b in itertools.combinations(range(4), 2)]
    families = [holm(pd.Series(family)).min() < 0.05 for family in np.array(p).T]
    assert 0.025 < np.mean(families) < 0.05 + 2 * 0.006
    assert (np.array(p).min(0) < 0.05).mean() > 0.15  # as many as there were without a correction
