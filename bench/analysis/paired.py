"""Differences between cells that share their seeds, and so their labelled images."""

from __future__ import annotations

import math

import pandas as pd

from bench.analysis.cells import t_quantile

COLUMNS = ["n", "difference", "se", "low", "high"]


def paired(values: pd.Series[float], base: pd.Series[float]) -> dict[str, float]:
    """The mean of `values - base`, both indexed by seed, over the seeds that both have.

    Returns: `n` pairs; `difference`; `se`, the standard error of it; `low` and `high`, its 95 % Student-t interval.
    The last three are missing for n = 1.
    """
    differences = (values - base).dropna()
    n, mean = len(differences), differences.mean()
    se = differences.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    half = t_quantile(n - 1) * se if n > 1 else math.nan
    return {"n": n, "difference": mean, "se": se, "low": mean - half, "high": mean + half}


def differences(frame: pd.DataFrame, base: str) -> pd.DataFrame:
    """The accuracy of every variant against that of `base` in points: rows of dataset, protocol, variant, budget.

    Args:
        frame: from `runs_frame`; runs that failed or diverged make no pair.
        base: a variant's label.
    """
    done = frame[frame["status"] == "done"]
    rows = []
    for (dataset, protocol, budget), group in done.groupby(["dataset", "protocol", "budget"], sort=False):
        by_variant = {name: own.set_index("seed")["accuracy"] for name, own in group.groupby("variant", sort=False)}
        for name in by_variant if base in by_variant else ():
            if name != base:
                cell = {"dataset": dataset, "protocol": protocol, "variant": name, "budget": budget}
                rows.append({**cell, **paired(by_variant[name], by_variant[base])})
    return pd.DataFrame(rows, columns=["dataset", "protocol", "variant", "budget", *COLUMNS])
