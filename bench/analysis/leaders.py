"""Which cells of a table share its first place."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from bench.analysis.cells import values_of
from bench.analysis.comparison import DIGITS, GROUP, higher_is_better, holm, t_test

LEVEL = 0.05


def leaders(frame: pd.DataFrame, metric: str = "accuracy") -> set[tuple[str, str, str, int]]:
    """The cells (dataset, protocol, variant, budget) that are the best for their budget, or not told apart from it.

    Within a dataset, protocol and budget all pairs of variants are compared by a paired t test, Holm-corrected over
    these pairs; whoever is worse than some other at 5 % stays behind. So does, without a test, whoever shares fewer
    than two seeds with the best mean or differs from it by the same on each. A variant with fewer than two runs takes
    no part: the one that survived may be the lucky one. Alone no variant is the best, and smoke runs are not compared.

    Args:
        frame: from `bench.analysis.runs.runs_frame`.
    """
    measured = frame.assign(value=values_of(frame, metric).astype(float))
    measured = measured[(measured["status"] == "done") & measured["value"].notna()]
    found = set()
    for (dataset, protocol, _), group in measured.groupby(GROUP, sort=False):
        judged = group[group["variant"].duplicated(keep=False)]
        if judged["variant"].nunique() > 1 and not str(protocol).startswith("smoke"):
            signed = judged.assign(value=judged["value"] if higher_is_better(metric) else -judged["value"])
            budget = int(judged["budget"].iloc[0])
            found |= {(str(dataset), str(protocol), name, budget) for name in _unbeaten(signed)}
    return found


def _unbeaten(group: pd.DataFrame) -> set[str]:
    """The variants that no other beats; higher values are better."""
    values = group.pivot(index="seed", columns="variant", values="value")  # [seeds, variants]
    means = values.mean().round(DIGITS)
    pairs = list(itertools.combinations(range(len(means)), 2))
    first, second = np.array(pairs).T
    differences = (values.to_numpy()[:, first] - values.to_numpy()[:, second]).round(DIGITS)  # [seeds, pairs]
    corrected = holm(pd.Series([t_test(pd.Series(own[~np.isnan(own)])) for own in differences.T], dtype=float))
    best = means == means.max()
    beaten = set()
    for (a, b), own, p in zip(pairs, differences.T, corrected, strict=True):
        shared = own[~np.isnan(own)]
        gap = shared.mean() if len(shared) else means.iloc[a] - means.iloc[b]
        worse, better = (a, b) if gap < 0 else (b, a)
        if p < LEVEL or (np.isnan(p) and best.iloc[better]):
            beaten.add(str(means.index[worse]))
    return ({str(name) for name in means.index} - beaten) | {str(name) for name in means.index[best]}
