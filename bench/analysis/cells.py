"""Statistics over seeds: one row per cell of a table."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from scipy import special

from bench.analysis.runs import CELL
from bench.errors import unknown

METRICS = {
    "accuracy": "accuracy (% of the test images)",
    "error": "error (% of the test images)",
    "errors": "errors (wrong test images)",
}
CONFIDENCE = 0.95
COLUMNS = [*CELL, "policy", "n", "failed", "mean", "std", "ci_low", "ci_high", "median", "min"]
# What the notes under a table need besides:
NOTES = ["base_variant", "validation", "left_out", "selection"]


def cells(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """The statistics of each cell, in the columns `COLUMNS` and `NOTES`.

    `n` runs count; `failed` runs failed or diverged and enter no average; `left_out` runs are done, but the policy
    finds nothing to read in them (no validation split). `std` is the sample standard deviation (ddof 1); `ci_low` and
    `ci_high` bound the 95 % Student-t interval of the mean: all three are missing for n = 1. `min` is the smallest
    value of the metric.

    Args:
        frame: from `runs_frame`. The cells keep its order of datasets, protocols and variants.

    Raises:
        UsageError: no such metric.
    """
    measured = frame.assign(value=values_of(frame, metric).astype(float))
    rows = [_cell(runs) for _, runs in measured.groupby(CELL, sort=False)]
    return pd.DataFrame(rows, columns=COLUMNS + NOTES)


def values_of(frame: pd.DataFrame, metric: str) -> pd.Series[float]:
    """The metric of each run `[runs]`; missing where there is none.

    Raises:
        UsageError: no such metric.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if metric == "error":
        return 100 * frame["errors"] / frame["test_images"].where(frame["test_images"] > 0)
    return frame[metric]


def _cell(runs: pd.DataFrame) -> dict[str, Any]:
    done, values = runs["status"] == "done", runs["value"]
    first = runs.iloc[0]
    return {
        **{name: first[name] for name in (*CELL, "policy", "base_variant", "validation", "selection")},
        "failed": int((~done).sum()),
        "left_out": int((done & values.isna()).sum()),
        **summary(values.dropna()),
    }


def t_quantile(freedom: float) -> float:
    """Of Student's t: how many standard errors an interval of `CONFIDENCE` reaches to each side.

    From `scipy.special`, as `scipy.stats` takes longer to import than a table to make.
    """
    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


def summary(values: pd.Series[float]) -> dict[str, float]:
    """Statistics of independent values `[n]`; those that n is too small for are missing."""
    n, mean, std = len(values), values.mean(), values.std(ddof=1)
    half = t_quantile(n - 1) * std / math.sqrt(n) if n > 1 else math.nan
    return {
        "n": n,
        "mean": mean,
        "std": std,
        "ci_low": mean - half,
        "ci_high": mean + half,
        "median": values.median(),
        "min": values.min(),
    }
