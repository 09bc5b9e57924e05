"""The table of an ablation: each change of the recipe beside the base, paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.analysis.cells import summary
from bench.analysis.paired import paired

MISSING = "\N{EN DASH}"


def ablation_table(title: str, accuracies: Mapping[str, Mapping[int, pd.Series[float]]], budgets: Sequence[int]) -> str:
    """Markdown: a row per change, and per budget the accuracy and the difference to the base with its interval.

    Args:
        accuracies: change -> budget -> accuracy in percent by seed, missing for a run that failed or diverged; the
            first change is the base.
    """
    base = next(iter(accuracies.values()))
    rows: list[dict[str, str]] = []
    for name, by_budget in accuracies.items():
        row = {"change": name}
        for budget in budgets:
            row[f"{budget} labels"] = _accuracy(by_budget[budget])
            row[f"difference at {budget}"] = _difference(by_budget[budget], base[budget]) if rows else ""
        rows.append(row)
    body = pd.DataFrame(rows)
    grid = body.to_markdown(index=False, disable_numparse=True, colalign=["left"] + ["right"] * (body.shape[1] - 1))
    return (
        f"**{title}**\n\n{grid}\n\n"
        "Accuracy in % of the test images, mean ± sample standard deviation over seeds (ddof 1). Differences to the "
        "base in points of accuracy, paired by seed: mean [95 % Student-t interval], not corrected for the number of "
        "rows; * marks an interval that leaves out 0.\n"
    )


def _accuracy(values: pd.Series[float]) -> str:
    done = summary(values.dropna())
    text = MISSING if not done["n"] else f"{done['mean']:.2f}" + (f" ± {done['std']:.2f}" if done["n"] > 1 else "")
    lost = int(values.isna().sum())
    return text + (f" ({lost} failed)" if lost else "")


def _difference(values: pd.Series[float], base: pd.Series[float]) -> str:
    found = paired(values, base)
    if not found["n"]:
        return MISSING
    if found["n"] == 1:
        return f"{found['difference']:+.2f}"
    mark = " *" if found["low"] > 0 or found["high"] < 0 else ""
    return f"{found['difference']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]{mark}"
