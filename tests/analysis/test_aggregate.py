"""Ranks, Friedman's test and the critical difference as in Demsar's paper; the interquartile mean's interval."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.aggregate import (
    COLUMNS,
    aggregates,
    critical_difference,
    friedman,
    interquartile_mean,
    mean_ranks,
)
from bench.analysis.runs import runs_frame
from bench.store import Record

MakeRecord = Callable[..., Record]

# Demsar (2006), JMLR 7, Table 6: AUC of four classifiers on 14 datasets. The two 0.975 have ranks 2 and 3 there.
AUC = pd.DataFrame(
    [
        *([0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967]),
        *([0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931]),
        *([0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875]),
        *([1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669]),
        *([0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970]),
    ]
)


def test_ranks_of_demsar_s_example() -> None:
    ranks = mean_ranks(AUC)
    assert list(ranks) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert 12 * 14 / (4 * 5) * ((ranks**2).sum() - 4 * 5**2 / 4) == pytest.approx(9.28, abs=0.005)
    assert list(mean_ranks(1 - AUC, higher=False)) == list(ranks)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.01)


@pytest.mark.parametrize(("variants", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_difference_from_demsar_s_table(variants: int, q: float) -> None:
    expected = q * math.sqrt(variants * (variants + 1) / (6 * 20))
    assert critical_difference(variants, 20) == pytest.approx(expected, rel=5e-4)


def test_friedman_by_hand() -> None:
    """Where all N blocks agree on k variants, the statistic is N (k - 1); for k = 3, p = exp(-statistic / 2)."""
    assert friedman(pd.DataFrame([[1.0, 2.0, 3.0]] * 4)) == pytest.approx(math.exp(-4))
    # rank sums 4, 6, 8 of N = 3: 12 / (3 * 3 * 4) * (16 + 36 + 64) - 3 * 3 * 4 = 8 / 3
    assert friedman(pd.DataFrame([[1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [1.0, 3.0, 2.0]])) == pytest.approx(
        math.exp(-4 / 3)
    )
    assert friedman(pd.DataFrame([[5.0, 5.0, 5.0], [7.0, 7.0, 7.0]])) == 1


def test_friedman_s_false_alarms() -> None:
    """Four variants that are alike, ten blocks: about 5 % (the standard error here is 0.6 points)."""
    blocks = np.random.default_rng(0).normal(size=(1200, 10, 4))
    assert np.mean([friedman(pd.DataFrame(means)) < 0.05 for means in blocks]) == pytest.approx(0.05, abs=0.018)


# --- the interquartile mean ------------------------------------------------------------------------------------------


def test_interquartile_mean_by_hand() -> None:
    found = interquartile_mean([np.array([8.0, 1.0, 6.0, 3.0]), np.array([4.0, 5.0, 100.0, 2.0])])
    assert (found["runs"], found["iqm"]) == (8, 4.5)  # of 1 2 [3 4 5 6] 8 100
    assert found["low"] < 4.5 < found["high"]


def test_seeds_are_drawn_within_their_block() -> None:
    """Blocks without any spread have an interval without any width, however far apart they are."""
    found = interquartile_mean([np.full(3, 10.0), np.full(5, 90.0)])
    assert found["low"] == found["high"] == found["iqm"]


def test_the_interval_is_that_of_a_plain_loop() -> None:
    blocks = [np.arange(10.0) ** 2, np.arange(7.0)]
    rng = np.random.default_rng(1)
    means = []
    for _ in range(4000):
        runs = sorted(v for block in blocks for v in rng.choice(block, len(block)))
        means.append(np.mean(runs[4:13]))  # 17 runs, floor(17 / 4) cut off on either side
    found = interquartile_mean(blocks)
    assert [found["low"], found["high"]] == pytest.approx(list(np.quantile(means, [0.025, 0.975])), abs=0.6)
    assert interquartile_mean(blocks) == found  # a random stream of its own


def test_no_interval_where_a_block_has_one_run() -> None:
    found = interquartile_mean([np.arange(5.0), np.array([2.0])])
    assert (found["runs"], found["iqm"]) == (6, 2)  # of 0 [1 2 2 3] 4
    assert math.isnan(found["low"])
    assert math.isnan(found["high"])


def coverage(seeds: int, simulations: int = 400) -> float:
    """How often the interval holds the interquartile mean of infinitely many runs of six blocks."""
    rng = np.random.default_rng(seeds)
    mean, std = np.array([[76.0], [84.0], [88.0], [90.0], [92.0], [94.0]]), np.array([[4.0], [4], [3], [2], [2], [1]])
    truth = stats.trim_mean(rng.normal(mean, std, size=(6, 200_000)).ravel(), 0.25)
    intervals = [interquartile_mean(list(rng.normal(mean, std, size=(6, seeds))), 1000) for _ in range(simulations)]
    return float(np.mean([found["low"] <= truth <= found["high"] for found in intervals]))


def test_the_interval_covers_at_ten_seeds() -> None:
    assert 0.88 <= coverage(10) <= 0.97


def test_the_interval_is_optimistic_at_three_seeds() -> None:
    """As the report says: about 85 %, not 95."""
    assert 0.75 <= coverage(3) <= 0.92


# --- frames ----------------------------------------------------------------------------------------------------------


def runs(record: MakeRecord, cells: dict[tuple[str, str, int], list[int]], **fields: str) -> list[Record]:
    return [
        record([wrong], variant=variant, dataset=dataset, budget=budget, seed=seed, **fields)
        for (variant, dataset, budget), errors in cells.items()
        for seed, wrong in enumerate(errors)
    ]


def test_blocks_are_the_cells_of_all_variants(record: MakeRecord) -> None:
    cells = {
        **{("supervised", "digits", b): [60, 40] for b in (20, 50)},
        **{("fm", "digits", b): [20, 10] for b in (20, 50)},
        **{("ct", "digits", 20): [20, 10], ("ct", "digits", 50): [30, 30]},
        **{("supervised", "mnist", 50): [9], ("fm", "mnist", 50): [1], ("ct", "mnist", 50): [2]},
        **{("supervised", "mnist", 100): [2], ("fm", "mnist", 100): [1]},  # ct lacks it
    }
    (found,) = aggregates(runs_frame(runs(record, cells), "last"), "errors")
    assert found.protocol == "common"
    assert list(found.means.columns) == ["supervised", "ct", "fm"]
    assert list(found.means.index) == [("digits", 20), ("digits", 50), ("mnist", 50)]
    assert found.means.to_numpy().tolist() == [[50, 15, 15], [50, 30, 15], [9, 2, 1]]
    assert found.left_out == [("mnist", 100)]
    assert list(found.variants.columns) == COLUMNS
    assert list(found.variants["rank"]) == pytest.approx([3, (1.5 + 2 + 2) / 3, (1.5 + 1 + 1) / 3])
    assert list(found.variants["runs"]) == [5, 5, 5]
    assert list(found.variants["iqm"]) == pytest.approx([(40 + 40 + 60) / 3, (10 + 20 + 30) / 3, (10 + 10 + 20) / 3])
    assert found.variants["low"].isna().all()  # one run on mnist
    assert found.smallest_friedman == pytest.approx(math.exp(-3))
    assert found.critical_difference == pytest.approx(2.343 * math.sqrt(12 / 18), rel=5e-4)


def test_two_variants_or_one_block_cannot_be_tested(record: MakeRecord) -> None:
    two = runs(record, {(v, "digits", b): [10, 20] for v in ("ct", "fm") for b in (20, 50)})
    alone = runs(record, {(v, "digits", 20): [10, 20] for v in ("ct", "fm", "bad")}, protocol="paper")
    single = runs(record, {("fm", "digits", b): [10, 20] for b in (20, 50)}, protocol="smoke")
    (found,) = aggregates(runs_frame(two + alone + single, "last"))
    assert (found.protocol, found.friedman, found.critical_difference) == ("common", None, None)
    assert list(found.variants["rank"]) == [1.5, 1.5]
    assert found.variants["low"].notna().all()
    assert aggregates(runs_frame([], "last")) == []


def test_a_variant_without_a_result_anywhere_leaves_no_block(record: MakeRecord) -> None:
    done = runs(record, {(v, "digits", b): [10, 20] for v in ("ct", "fm") for b in (20, 50)})
    failed = [record([], variant="bad", budget=b, status="failed") for b in (20, 50)]
    (found,) = aggregates(runs_frame(done + failed, "last"))
    assert found.means.shape == (0, 3)
    assert found.left_out == [("digits", 20), ("digits", 50)]
    assert found.variants.empty
