"""Several cells at once: ranks over blocks (Demsar 2006, JMLR 7), and the interquartile mean over all their runs.

A block is a dataset and a budget of one protocol, in which every variant has a mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bench.analysis.cells import CONFIDENCE, values_of
from bench.analysis.comparison import DIGITS, higher_is_better

BLOCK = ["dataset", "budget"]
COLUMNS = ["variant", "rank", "runs", "iqm", "low", "high"]
TRIM = 0.25  # of the runs, at either end
RESAMPLES = 10_000
BOOTSTRAP = 20210830  # the bootstrap's own random stream: the same interval for the same runs (arXiv:2108.13264)


@dataclass(frozen=True)
class Aggregate:
    """What the blocks of one protocol say together.

    Attributes:
        means: `[blocks, variants]`, indexed by dataset and budget.
        left_out: (dataset, budget) of the cells that make no block: some variant has no mean there.
        variants: a row per variant in the columns `COLUMNS`: the mean rank (1 is the best), and the interquartile mean
            of its runs with a 95 % interval.
        friedman: p of Friedman's test that all variants rank alike; like the next two None for fewer than 3 variants
            or 2 blocks.
        smallest_friedman: the smallest p that so many blocks and variants can have: all blocks rank them alike.
        critical_difference: mean ranks that differ by less are not told apart (Nemenyi, 5 %).
    """

    protocol: str
    means: pd.DataFrame
    left_out: Sequence[tuple[str, int]]
    variants: pd.DataFrame
    friedman: float | None
    smallest_friedman: float | None
    critical_difference: float | None


def aggregates(frame: pd.DataFrame, metric: str = "accuracy") -> list[Aggregate]:
    """One per protocol of the frame (from `runs_frame`) that has several variants and several cells of one of them."""
    measured = frame.assign(value=values_of(frame, metric))
    groups = [(str(protocol), runs) for protocol, runs in measured.groupby("protocol", sort=False)]
    return [
        _aggregate(protocol, runs, higher_is_better(metric))
        for protocol, runs in groups
        if runs["variant"].nunique() > 1 and len(runs[BLOCK].drop_duplicates()) > 1
    ]


def _aggregate(protocol: str, runs: pd.DataFrame, higher: bool) -> Aggregate:
    every = block_means(runs)
    means = every.dropna()
    blocks, variants = means.shape
    testable = blocks > 1 and variants > 2
    ranks = mean_ranks(means, higher)
    rows = [
        {"variant": name, "rank": ranks[name], **interquartile_mean(_by_block(runs, name, means.index))}
        for name in (means.columns if blocks else ())
    ]
    return Aggregate(
        protocol=protocol,
        means=means,
        left_out=[(str(dataset), int(budget)) for dataset, budget in every.index.difference(means.index, sort=False)],
        variants=pd.DataFrame(rows, columns=COLUMNS),
        friedman=friedman(means) if testable else None,
        smallest_friedman=float(stats.chi2.sf(blocks * (variants - 1), variants - 1)) if testable else None,
        critical_difference=critical_difference(variants, blocks) if testable else None,
    )


def block_means(runs: pd.DataFrame) -> pd.DataFrame:
    """The mean of `value` over the seeds `[blocks, variants]`, missing where no run has one; in the order of `runs`."""
    means = runs.groupby([*BLOCK, "variant"], sort=False)["value"].mean().unstack("variant")
    blocks = pd.MultiIndex.from_frame(runs[BLOCK].drop_duplicates())
    return means.reindex(index=blocks, columns=runs["variant"].drop_duplicates()).round(DIGITS)


def mean_ranks(means: pd.DataFrame, higher: bool = True) -> pd.Series[float]:
    """The mean over blocks of each variant's rank `[variants]`: 1 is the best, equal ones share their ranks' mean."""
    return means.rank(axis=1, ascending=not higher).mean()


def friedman(means: pd.DataFrame) -> float:
    """p of Friedman's test on `[blocks, variants]` (chi-squared approximation); 1 where all are alike."""
    if (means.nunique(axis=1) == 1).all():
        return 1.0
    return float(stats.friedmanchisquare(*(means[name] for name in means)).pvalue)


def critical_difference(variants: int, blocks: int, alpha: float = 0.05) -> float:
    """q sqrt(k (k + 1) / (6 N)) for k variants and N blocks, q the studentised range's quantile over sqrt(2)."""
    q = stats.studentized_range.ppf(1 - alpha, variants, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(variants * (variants + 1) / (6 * blocks)))


def interquartile_mean(blocks: Sequence[NDArray[np.floating]], resamples: int = RESAMPLES) -> dict[str, Any]:
    """The mean of the middle half of all runs of all blocks (arXiv:2108.13264, section 4.3).

    `low` and `high` bound its 95 % percentile interval by the stratified bootstrap, which draws each block's seeds
    anew from that block. They are missing where a block has one run only, whose spread nobody knows.

    Args:
        blocks: the values of each block's runs, `[blocks][seeds]`.
    """
    runs = np.concatenate(blocks)
    found = {"runs": len(runs), "iqm": float(stats.trim_mean(runs, TRIM)), "low": math.nan, "high": math.nan}
    if min(len(values) for values in blocks) < 2:
        return found
    rng = np.random.default_rng(BOOTSTRAP)
    drawn = [values[rng.integers(len(values), size=(resamples, len(values)))] for values in blocks]
    means = stats.trim_mean(np.concatenate(drawn, axis=1), TRIM, axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return found | {"low": float(low), "high": float(high)}


def _by_block(runs: pd.DataFrame, variant: str, blocks: pd.Index) -> list[NDArray[np.floating]]:
    """The values of a variant's runs in each of these blocks."""
    values = runs[runs["variant"] == variant].dropna(subset="value").groupby(BLOCK)["value"]
    return [values.get_group(block).to_numpy() for block in blocks]
