"""Comparisons of variants as Markdown, for people; and the critical-difference diagram.

Each dataset and protocol has a section: per budget a table of cells and one of pairs. Each protocol with several cells
has one over all of them. What the columns mean stands once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from bench.analysis.aggregate import RESAMPLES, Aggregate
from bench.analysis.cells import METRICS
from bench.analysis.comparison import higher_is_better, smallest_wilcoxon
from bench.analysis.power import MOST_SEEDS
from bench.errors import UsageError
from bench.reporting.formats import markdown_text as escape
from bench.reporting.formats import plain_table
from bench.reporting.table import MISSING
from bench.reporting.tables import policy_note

LEVEL = 0.05
MANY = 5  # variants
WORDS = {"variant", "a", "b", "cell", "source", "verdict", "why"}  # columns that are no numbers


def baseline_only(frame: pd.DataFrame) -> bool:
    """Whether there are so many variants that each is compared with `supervised` only: a smaller family for Holm."""
    return frame["variant"].nunique() > MANY and "supervised" in set(frame["base_variant"])


def comparison_report(
    cells: pd.DataFrame,
    pairs: pd.DataFrame,
    together: Sequence[Aggregate],
    metric: str = "accuracy",
    policy: str = "last",
    with_baseline_only: bool = False,
) -> str:
    """The whole report.

    Args:
        cells: from `bench.analysis.comparison.quartiles`.
        pairs: from `comparisons`.
        together: from `bench.analysis.aggregate.aggregates`.
        with_baseline_only: what `comparisons` was called with.

    Raises:
        UsageError: there are no cells.
    """
    if cells.empty:
        raise UsageError("there are no runs to compare. Make some with `bench run`.")
    parts = []
    for (dataset, protocol), group in cells.groupby(["dataset", "protocol"], sort=False):
        own = pairs[(pairs["dataset"] == dataset) & (pairs["protocol"] == protocol)]
        parts += [f"## {escape(f'{dataset}, {protocol}')}", *_section(group, own, metric, with_baseline_only)]
    for aggregate in together:
        parts += [f"## {escape(aggregate.protocol)}: all cells together", *_together(aggregate, metric)]
    notes = [policy_note(policy, int(cells["validation"].max())), *_cell_notes(cells, metric)]
    notes += _pair_notes() if len(pairs) else []
    notes += _together_notes(metric) if together else []
    parts += ["## How to read this", _list(notes)]
    return "\n\n".join(parts) + "\n"


def _section(cells: pd.DataFrame, pairs: pd.DataFrame, metric: str, with_baseline_only: bool) -> list[str]:
    parts = _warning(str(cells["protocol"].iloc[0]))
    for budget, group in sorted(cells.groupby("budget"), key=lambda item: int(str(item[0]))):
        parts += [f"**{budget} labels: {METRICS[metric]}**", _cell_table(group, metric)]
        if len(group) == 1:
            parts.append("There is no other variant to compare with.")
        elif (pairs["budget"] == budget).any():
            parts += [f"**{budget} labels: differences, paired by seed**", _pair_table(pairs, budget, metric)]
    return parts + _family_notes(pairs, with_baseline_only)


def _warning(protocol: str) -> list[str]:
    smoke = protocol.startswith("smoke")
    return ["**Smoke runs prove only that the code runs; their numbers mean nothing.**"] if smoke else []


def _family_notes(pairs: pd.DataFrame, with_baseline_only: bool) -> list[str]:
    """What corrects these p values, what was left out, and which tests could not have found anything."""
    tested = int(pairs["t_p"].notna().sum()), int(pairs["wilcoxon_p"].notna().sum())
    notes = []
    if with_baseline_only:
        notes.append(
            "Of many variants each is compared with `supervised` only, and p is corrected for these pairs. Name some "
            "with --variants A,B,C for all pairs of those, corrected for those."
        )
    if len(pairs) and not tested[1]:
        notes.append("No pair has two seeds: nothing can be tested.")
    if tested[1]:
        notes.append(f"Holm corrects over all {tested[1]} pairs of this dataset and protocol, its budgets together.")
        n = int(pairs["n"].max())
        least, corrected = smallest_wilcoxon(n), min(1.0, tested[1] * smallest_wilcoxon(n))
        if least > LEVEL:
            notes.append(f"At n = {n} Wilcoxon's p is never below {_p(least)}: the test cannot reach {LEVEL} here.")
        elif corrected > LEVEL:
            notes.append(
                f"At n = {n} Wilcoxon's p is never below {_p(least)}, and {_p(corrected)} after the correction over "
                f"{tested[1]} pairs: the corrected test cannot reach {LEVEL} here."
            )
    if tested[0] < tested[1]:
        notes.append("No t test where all differences are the same: they leave no spread to judge by.")
    return [_list(notes)] if notes else []


# --- tables ----------------------------------------------------------------------------------------------------------


def _cell_table(cells: pd.DataFrame, metric: str) -> str:
    digits = _digits(metric)
    rows = [
        {
            "variant": cell["variant"],
            "n": f"{cell['n']:.0f}",
            "failed": f"{cell['failed']:.0f}",
            "mean": number(cell["mean"], digits),
            "std": number(cell["std"], digits),
            "95 % interval": _interval(cell["ci_low"], cell["ci_high"], digits),
            "median": number(cell["median"], digits),
            "quartiles": _interval(cell["q1"], cell["q3"], digits),
            "minimum": number(cell["min"], digits),
        }
        for _, cell in cells.iterrows()
    ]
    return grid(rows)


def _pair_table(pairs: pd.DataFrame, budget: object, metric: str) -> str:
    digits = _digits(metric)
    rows = [
        {
            "a": pair["a"],
            "b": pair["b"],
            "n": f"{pair['n']:.0f}" + (f" ({pair['unpaired']:.0f} lost)" if pair["unpaired"] else ""),
            "a - b": number(pair["difference"], digits, "+"),
            "95 % interval": _interval(pair["low"], pair["high"], digits, "+"),
            "p (t)": _p(pair["t_p"]),
            "Holm (t)": _judged(pair["t_holm"]),
            "p (Wilcoxon)": _p(pair["wilcoxon_p"]),
            "Holm (Wilcoxon)": _judged(pair["wilcoxon_holm"]),
            "a better": number(100 * pair["superiority"], 0) + (" %" if pair["n"] else ""),
            "detectable": number(pair["detectable"], digits),
            "seeds needed": _seeds(pair["seeds_needed"]),
        }
        for _, pair in pairs[pairs["budget"] == budget].iterrows()
    ]
    return grid(rows)


def _together(aggregate: Aggregate, metric: str) -> list[str]:
    blocks, variants = aggregate.means.shape
    if not blocks:
        return [f"No cell has a mean of all {variants} variants. Name some with --variants to rank them."]
    digits = _digits(metric)
    rows = [
        {
            "variant": row["variant"],
            "mean rank": f"{row['rank']:.2f}",
            "runs": f"{row['runs']:.0f}",
            "interquartile mean": number(row["iqm"], digits),
            "95 % interval": _interval(row["low"], row["high"], digits),
        }
        for _, row in aggregate.variants.sort_values("rank", kind="stable").iterrows()
    ]
    return [*_warning(aggregate.protocol), grid(rows), _list(_found_together(aggregate))]


def grid(rows: list[dict[str, str]]) -> str:
    """A Markdown table; what is in it is escaped."""
    return plain_table(pd.DataFrame(rows), WORDS)


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {escape(sentence)}" for sentence in sentences)


def _digits(metric: str) -> int:
    return 1 if metric == "errors" else 2


def number(value: float, digits: int, sign: str = "") -> str:
    """`sign`: "+" shows the sign of positive numbers, too."""
    return MISSING if math.isnan(value) else f"{value:{sign}.{digits}f}"


def _interval(low: float, high: float, digits: int, sign: str = "") -> str:
    return MISSING if math.isnan(low) else f"{low:{sign}.{digits}f} to {high:{sign}.{digits}f}"


def _p(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _judged(value: float) -> str:
    return _p(value) + (" *" if value < LEVEL else "")


def _seeds(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.0f}" if value <= MOST_SEEDS else f"> {MOST_SEEDS}"


# --- notes -----------------------------------------------------------------------------------------------------------


def _cell_notes(cells: pd.DataFrame, metric: str) -> list[str]:
    end = "worst" if higher_is_better(metric) else "best"
    notes = [
        "The unit is the seed: n runs count, each with labelled images and random streams of its own.",
        "std is the sample standard deviation over seeds (ddof 1); the 95 % interval of the mean is Student's t. Both "
        "need two runs. Rare collapses skew a cell, and then the interval covers far less than it says (where one run "
        "in ten collapses, about 40 % at n = 5 and 65 % at n = 10): compare the mean with the median, the quartiles "
        f"and the minimum (the {end} run).",
    ]
    if cells["failed"].any():
        notes.append("Failed runs (failed or diverged) are counted; they enter no average and make no pair.")
    if left_out := int(cells["left_out"].sum()):
        notes.append(f"Left out: {left_out} runs without validation errors to go by.")
    return notes


def _pair_notes() -> list[str]:
    return [
        "Pairs: the n seeds that both variants have done, each with the same labelled images for both; lost are the "
        "seeds that only one has done, or on which one failed. a - b is the mean of their differences, with Student's "
        "t interval (95 %, not corrected).",
        "p: two-sided, of the paired t test and of Wilcoxon's signed-rank test (exact; differences of 0 dropped); "
        f"Holm: the same, corrected for the number of pairs. * marks a corrected p below {LEVEL}. Choose one of the "
        "tests before you look.",
        "a better: the share of seeds on which a is better than b, ties by half.",
        "detectable: the smallest true difference that a paired t test of n seeds finds in 80 % of repetitions (two-"
        "sided, 5 %, not corrected), at the spread observed here. A difference that is smaller and not significant is "
        "open, not absent.",
        "seeds needed: how many seeds such a test needs to find the observed difference in 80 % of repetitions, if "
        "difference and spread are the true ones. At few seeds they are not: take it as an order of magnitude.",
    ]


def _together_notes(metric: str) -> list[str]:
    notes = [
        "All cells together: a block is a cell (dataset and budget) in which every variant has a mean. Rank 1 is the "
        "best mean of a block; equal means share their ranks.",
        "interquartile mean: the mean of the middle half of a variant's runs, all blocks in one pot, so that all runs "
        "of an easy or a hard block may be cut off. Its interval comes from a stratified bootstrap "
        f"({RESAMPLES} draws of seeds within blocks), which is optimistic for few seeds: over six blocks it covers "
        "about 85 % at 3 seeds, 90 % at 5.",
    ]
    if metric == "errors":
        notes.append("Errors on test sets of several sizes do not belong in one pot: take --metric error for those.")
    return notes


def _found_together(aggregate: Aggregate) -> list[str]:
    blocks, variants = aggregate.means.shape
    notes = [
        f"{blocks} {'block' if blocks == 1 else 'blocks'} of {variants} variants: {_listed(aggregate.means.index)}."
    ]
    if aggregate.left_out:
        notes.append(f"Left out, because some variant has no mean there: {_listed(aggregate.left_out)}.")
    if aggregate.friedman is None or aggregate.smallest_friedman is None:
        return [*notes, "Friedman's test needs three variants and two blocks."]
    notes.append(f"Friedman's test that all variants rank alike has p {_p(aggregate.friedman)}.")
    if aggregate.smallest_friedman > LEVEL:
        least = _p(aggregate.smallest_friedman)
        notes.append(f"With so few blocks and variants its p is never below {least}: it cannot reach {LEVEL} here.")
    gap = f"{aggregate.critical_difference:.2f}"
    notes.append(f"Mean ranks that differ by less than {gap} are not told apart (Nemenyi's test at {LEVEL}).")
    if aggregate.means.index.get_level_values("dataset").has_duplicates:
        notes.append(
            "Blocks that share a dataset are not independent (the labelled images of a smaller budget are among those "
            "of a larger one): both tests see more evidence than there is."
        )
    return notes


def _listed(blocks: Iterable[tuple[str, int]]) -> str:
    return "; ".join(f"{dataset}, {budget} labels" for dataset, budget in blocks)
