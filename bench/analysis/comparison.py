"""All pairs of variants on the same seeds: differences, tests, and what the tests could have seen.

The unit is the seed. Within a (dataset, protocol, budget) two variants are compared over the seeds that both have
done; runs that failed or diverged make no pair. p values are corrected over all pairs of a dataset and protocol, its
budgets together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from bench.analysis import paired
from bench.analysis.cells import cells, values_of
from bench.analysis.power import detectable_difference, seeds_needed
from bench.analysis.runs import CELL

GROUP = ["dataset", "protocol", "budget"]  # within it, variants are compared
FAMILY = ["dataset", "protocol"]  # over it, p values are corrected
COLUMNS = [
    *(*GROUP, "a", "b"),
    *(*paired.COLUMNS, "unpaired"),  # of a - b, in the metric's unit; `unpaired` seeds have no result of a or of b
    *("t_p", "t_holm", "wilcoxon_p", "wilcoxon_holm"),
    *("superiority", "detectable", "seeds_needed"),
]
DIGITS = 9  # decimals of a difference: what lies beyond is rounding, which would break the ties of 87.6 - 87.4


def quartiles(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """`cells(frame, metric)` with two columns more: the quartiles `q1` and `q3` of each cell's runs.

    Raises:
        UsageError: no such metric.
    """
    table = cells(frame, metric)
    runs = values_of(frame, metric).astype(float).groupby([frame[name] for name in CELL])
    found = pd.DataFrame({"q1": runs.quantile(0.25), "q3": runs.quantile(0.75)})
    return table.merge(found.reset_index(), on=CELL, how="left")


def higher_is_better(metric: str) -> bool:
    return metric == "accuracy"


def comparisons(frame: pd.DataFrame, metric: str = "accuracy", with_baseline_only: bool = False) -> pd.DataFrame:
    """One row per pair of variants and group, in the columns `COLUMNS`.

    a and b stand in the frame's order, but for `supervised`, which is always b. `n`, `difference`, `se`, `low` and
    `high` are those of `paired`. `superiority` is the share of seeds on which a is better than b, ties by half.
    `detectable` is the difference that n pairs with this spread see with 80 % power, `seeds_needed` how many pairs
    would see the observed difference (`bench.analysis.power`). What n is too small for is missing.

    Args:
        frame: from `runs_frame`, [runs].
        with_baseline_only: no pair but those whose b is `supervised`: a smaller family to correct for.
    """
    measured = frame.assign(value=values_of(frame, metric))
    baselines = set(frame.loc[frame["base_variant"] == "supervised", "variant"])
    rows = [
        dict(zip(GROUP, key, strict=True)) | pair
        for key, group in measured.groupby(GROUP, sort=False)
        for pair in _pairs(group, higher_is_better(metric))
        if not with_baseline_only or pair["b"] in baselines
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"seeds_needed": float})
    for test in ("t", "wilcoxon"):
        table[f"{test}_holm"] = table.groupby(FAMILY, sort=False)[f"{test}_p"].transform(holm)
    return table


def _pairs(group: pd.DataFrame, higher: bool) -> Iterator[dict[str, Any]]:
    baseline_last = group.sort_values("base_variant", key=lambda names: names == "supervised", kind="stable")
    by_variant = {name: own.set_index("seed")["value"] for name, own in baseline_last.groupby("variant", sort=False)}
    for (a, values), (b, base) in itertools.combinations(by_variant.items(), 2):
        yield {"a": a, "b": b, **compare(values, base, higher)}


def compare(values: pd.Series[float], base: pd.Series[float], higher: bool = True) -> dict[str, Any]:
    """What one pair's row says but for the correction; both by seed, missing for runs without a result."""
    differences = (values - base).dropna().round(DIGITS)
    found = paired.paired(values, base)
    sd = round(float(differences.std(ddof=1)), DIGITS)
    return {
        **found,
        "unpaired": len(values.index.union(base.index)) - len(differences),
        "t_p": t_test(differences),
        "wilcoxon_p": wilcoxon(differences),
        "superiority": superiority(differences if higher else -differences),
        "detectable": detectable_difference(sd, len(differences)),
        "seeds_needed": seeds_needed(round(found["difference"], DIGITS), sd),
    }


def t_test(differences: pd.Series[float]) -> float:
    """The two-sided p of Student's paired t test; missing for n < 2 and for differences that are all the same.

    The latter leave no spread to judge by, and p = 0 would be an artefact of counting in whole images. If they are all
    0, p = 1.
    """
    if len(differences) < 2:
        return math.nan
    if np.ptp(differences) == 0:
        return 1.0 if differences.iloc[0] == 0 else math.nan
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(len(differences)))
    return float(2 * special.stdtr(len(differences) - 1, -abs(t)))


def wilcoxon(differences: pd.Series[float]) -> float:
    """The two-sided p of Wilcoxon's signed-rank test, exact for every n, with ties too; missing for n < 2.

    Differences of 0 are dropped (Wilcoxon 1945); if there are no others, p = 1. SciPy's own is exact with ties only
    to n = 13, and slow there.
    """
    if len(differences) < 2:
        return math.nan
    nonzero = differences[differences != 0]
    doubled = np.rint(2 * nonzero.abs().rank().to_numpy()).astype(int)  # ranks of ties are halves
    chance = np.ones(1)  # chance[s]: that the ranks with a positive sign sum to s, when each sign is a coin's
    for rank in doubled:
        chance = 0.5 * (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0)))
    positive = int(doubled[nonzero > 0].sum())
    farther = max(positive, int(doubled.sum()) - positive)
    return min(1.0, 2 * float(chance[farther:].sum()))


def smallest_wilcoxon(n: int) -> float:
    """The smallest p that Wilcoxon's test has at n pairs: all differences of one sign, 2 of 2^n outcomes."""
    return min(1.0, 2.0 ** (1 - n))


def superiority(differences: pd.Series[float]) -> float:
    """The share of differences above 0, those of 0 by half; missing for none."""
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def holm(p_values: pd.Series[float]) -> pd.Series[float]:
    """Holm's step-down correction (Scand. J. Stat. 6, 1979): adjusted p values in the order given, missing ones left.

    The i-th smallest of m becomes max over j <= i of (m - j + 1) p_j, at most 1.
    """
    ordered = p_values.dropna().sort_values()
    factors = np.arange(len(ordered), 0, -1)
    return (ordered * factors).cummax().clip(upper=1).reindex(p_values.index)
