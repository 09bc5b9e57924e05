"""Statistics against closed forms, printed t tables, NumPy and SciPy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from bench.analysis.cells import cells
from bench.analysis.runs import runs_frame
from bench.errors import UsageError
from bench.store import Record

MakeRecord = Callable[..., Record]

COLUMNS = [
    *("dataset", "protocol", "variant", "budget", "policy", "n", "failed"),
    *("mean", "std", "ci_low", "ci_high", "median", "min"),
]
# Two-sided 95 % quantiles of Student's t by n, from printed tables.
T = {2: 12.706, 3: 4.303, 5: 2.776, 10: 2.262}


@pytest.mark.parametrize("n", sorted(T))
@pytest.mark.parametrize("metric", ["accuracy", "error", "errors"])
def test_statistics_of_a_cell(record: MakeRecord, n: int, metric: str) -> None:
    errors = [20, 23, 31, 22, 27, 90, 25, 24, 21, 28][:n]
    cell = cells(runs_frame([record([e], seed=i) for i, e in enumerate(errors)], "last"), metric).iloc[0]
    of = {"accuracy": lambda e: 100 - e / 2, "error": lambda e: e / 2, "errors": float}[metric]  # of 200 test images
    values = np.array([of(e) for e in errors])
    assert (cell["n"], cell["failed"]) == (n, 0)
    assert cell["mean"] == pytest.approx(values.sum() / n)
    assert cell["std"] == pytest.approx(statistics.stdev(values))
    assert cell["median"] == pytest.approx(statistics.median(values))
    assert cell["min"] == min(values)
    half = T[n] * math.sqrt(((values - values.mean()) ** 2).sum() / (n - 1) / n)
    assert cell["ci_high"] - cell["mean"] == pytest.approx(half, rel=2e-4)  # the table has four digits
    assert cell["mean"] - cell["ci_low"] == pytest.approx(half, rel=2e-4)
    scipy = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert [cell["ci_low"], cell["ci_high"]] == pytest.approx([scipy.low, scipy.high])


def test_one_run_has_no_spread(record: MakeRecord) -> None:
    cell = cells(runs_frame([record([30])], "last"), "errors").iloc[0]
    assert list(cell[["n", "mean", "median", "min"]]) == [1, 30, 30, 30]
    assert cell[["std", "ci_low", "ci_high"]].isna().all()


def test_runs_without_a_result_are_counted_and_never_averaged(record: MakeRecord) -> None:
    runs = [
        *(record([10], seed=0), record([20], seed=1), record([200], seed=2, status="diverged")),
        *(record([], seed=3, status="failed"), record([], seed=0, budget=50, status="failed")),
    ]
    table = cells(runs_frame(runs, "last"), "errors")
    assert list(table.columns)[:13] == COLUMNS
    small, large = table.iloc[0], table.iloc[1]
    assert list(small[["budget", "n", "failed", "mean", "min"]]) == [20, 2, 2, 15, 10]
    assert list(large[["budget", "n", "failed"]]) == [50, 0, 1]
    assert large[["mean", "std", "ci_low", "ci_high", "median", "min"]].isna().all()


def test_a_policy_that_finds_nothing_leaves_the_run_out(record: MakeRecord) -> None:
    validated = record([10, 20], seed=0, curve={"validation_raw": [2, 1]})
    frame = runs_frame([validated, record([9, 9], seed=1), record([9], seed=2, status="diverged")], "best-validation")
    cell = cells(frame, "errors").iloc[0]
    assert list(cell[["policy", "n", "failed", "left_out", "mean"]]) == ["best-validation", 1, 1, 1, 20]


def test_cells_differ_by_seed_only(record: MakeRecord) -> None:
    runs = [record([10 * s + b], seed=s, budget=b, variant=v) for v in ("bad", "fm") for b in (20, 50) for s in (0, 1)]
    table = cells(runs_frame(reversed(runs), "last"), "errors")
    assert list(table[["variant", "budget", "n", "mean"]].itertuples(index=False, name=None)) == [
        *(("bad", 20, 2, 25), ("bad", 50, 2, 55), ("fm", 20, 2, 25), ("fm", 50, 2, 55)),
    ]


def test_no_runs_no_cells() -> None:
    table = cells(runs_frame([], "last"))
    assert table.empty
    assert list(table.columns)[:13] == COLUMNS


def test_an_unknown_metric_is_refused(record: MakeRecord) -> None:
    with pytest.raises(UsageError, match=r"unknown metric 'eror'.*'error'"):
        cells(runs_frame([record([1])], "last"), "eror")
