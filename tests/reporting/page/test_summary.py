"""The three sentences say what NumPy and SciPy say of the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.reporting.material import Material
from bench.reporting.page.summary import summary
from bench.store import Record

Make = Callable[..., Record]
Gathered = Callable[..., Material]

# Accuracies in percent are 100 - wrong / 2, as there are 200 test images. Columns: seeds.
WRONG = {
    "supervised": {20: [60, 64, 68, 61], 100: [40, 44, 42, 45]},
    "good": {20: [20, 22, 21, 25], 100: [10, 12, 17, 11]},
    "close": {20: [21, 20, 22, 27], 100: [12, 11, 16, 14]},
}


def grid(make: Make, wrong: dict[str, dict[int, list[int]]], **changes: Any) -> list[Record]:
    return [
        make(variant, budget, seed, count, **changes)
        for variant, budgets in wrong.items()
        for budget, column in budgets.items()
        for seed, count in enumerate(column)
    ]


def by_seed(variant: str) -> np.ndarray:
    """Each seed's mean accuracy over the two budgets."""
    return 100 - (np.array(WRONG[variant][20]) + np.array(WRONG[variant][100])) / 4


def test_all_numbers_are_those_of_an_independent_calculation(make: Make, gathered: Gathered) -> None:
    scope, finding, limits = summary(gathered(grid(make, WRONG)))
    assert scope.startswith("These are 24 runs of 3 variants on 1 dataset (digits) with 4 seeds per cell, ")
    assert "policy last (" in scope
    assert scope.endswith("none of them failed or diverged.")
    best, base, close = by_seed("good"), by_seed("supervised"), by_seed("close")
    gap = best - base
    half = stats.t.ppf(0.975, 3) * gap.std(ddof=1) / 2
    assert (
        f"good has the best mean rank of 3 variants (1.0 over 20 and 100 labels) and averages {best.mean():.2f} ± "
        in finding
    )
    assert f"± {best.std(ddof=1):.2f} % accuracy (n = 4 seeds, ± sample standard deviation)" in finding
    assert f", {gap.mean():.2f} points more than supervised" in finding
    assert f"(95 % interval {gap.mean() - half:+.2f} to {gap.mean() + half:+.2f}, 4 pairs)." in finding
    # Holm: the smaller of two p values counts twice, the larger once
    p_base, p_close = stats.ttest_rel(best, base).pvalue, stats.ttest_rel(best, close).pvalue
    assert 2 * p_base < 0.05 < p_close
    assert limits == (
        "Paired t tests over these seeds, Holm-corrected over 2 comparisons at 5 %, do not tell close apart from good."
    )


def test_each_is_one_sentence(make: Make, gathered: Gathered) -> None:
    for sentence in summary(gathered(grid(make, WRONG))):
        assert sentence.endswith(".")
        assert ". " not in sentence


def test_the_main_group_is_the_largest_and_never_smoke(make: Make, gathered: Gathered) -> None:
    smoke = [make(f"v{index}", 20, 0, 15, protocol="smoke") for index in range(40)]
    few = grid(make, {"elsewhere": {20: [15, 16]}}, dataset="two-circles")
    scope, finding, _ = summary(gathered(grid(make, WRONG) + smoke + few))
    assert "with 1 to 4 seeds per cell" in scope
    assert finding.startswith("On digits under the protocol common, good ")


def test_smoke_runs_mean_nothing(make: Make, gathered: Gathered) -> None:
    scope, finding, limits = summary(gathered(grid(make, WRONG, protocol="smoke")))
    assert "24 runs" in scope
    assert "their numbers mean nothing" in finding
    assert not any(name in finding + limits for name in ("good", "95 %"))


def test_failures_are_counted_and_make_no_pair(make: Make, gathered: Gathered) -> None:
    records = grid(make, WRONG)
    lost = next(r for r in records if (r.run.variant, r.run.budget, r.run.seed) == ("good", 20, 3))
    records[records.index(lost)] = make("good", 20, 3, None)
    scope, finding, _ = summary(gathered(records))
    assert scope.endswith("1 of them failed or diverged.")
    best = by_seed("good")[:3]
    assert f"averages {best.mean():.2f} ± {best.std(ddof=1):.2f} % accuracy (n = 3 seeds" in finding
    assert "3 pairs" in finding


@pytest.mark.parametrize(
    ("names", "in_finding", "in_limits"),
    [
        (["good"], "the only variant, averages", "no other variant"),
        (["good", "close"], "there is no supervised baseline", "do not tell close apart from good"),
        (["supervised"], "supervised, the only variant, averages", "no other variant"),
    ],
)
def test_what_cannot_be_compared_is_said(
    make: Make, gathered: Gathered, names: list[str], in_finding: str, in_limits: str
) -> None:
    _, finding, limits = summary(gathered(grid(make, {name: WRONG[name] for name in names})))
    assert in_finding in finding
    assert in_limits in limits


def test_the_baseline_may_be_the_best(make: Make, gathered: Gathered) -> None:
    _, finding, limits = summary(gathered(grid(make, {"supervised": WRONG["good"], "worse": WRONG["supervised"]})))
    assert "supervised has the best mean rank" in finding
    assert "no variant that uses unlabelled images does better" in finding
    assert limits.endswith("tell all others apart from supervised.")


def test_one_seed_is_no_test(make: Make, gathered: Gathered) -> None:
    single = {name: {budget: column[:1] for budget, column in wrong.items()} for name, wrong in WRONG.items()}
    _, finding, limits = summary(gathered(grid(make, single)))
    # (100 - 20 / 2 + 100 - 10 / 2) / 2, and 100 - 100 / 4 for supervised
    assert "averages 92.50 % accuracy (n = 1), 17.50 points more than supervised (one pair: no interval)" in finding
    assert limits.startswith("Too few seeds are shared")


def test_nothing_at_all(gathered: Gathered) -> None:
    assert summary(gathered([])) == (
        "There are no runs yet.",
        "No run has a result that this policy could read.",
        "So there is nothing to compare.",
    )
