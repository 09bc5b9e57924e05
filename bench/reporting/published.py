"""Our cells beside published numbers, as Markdown."""

from __future__ import annotations

import pandas as pd

from bench.reporting.comparison import grid, number


def published_section(beside: pd.DataFrame) -> str:
    """A table of our cells beside published ones, from `bench.analysis.published.beside`; comparable ones first."""
    if beside.empty:
        return "## Beside published numbers\n\nNothing has been published for these cells.\n"
    rows = [
        {
            "cell": f"{row['dataset']}, {row['protocol']}, {row['budget']} labels",
            "variant": row["variant"],
            "source": f"{row['source']}: {row['method']}",
            "ours": _ours(row),
            "published": _theirs(row),
            "ours - published": number(row["difference"], 2, "+"),
            "in standard errors": number(row["standard_errors"], 1, "+"),
            "verdict": row["verdict"],
            "why": row["why"],
        }
        for _, row in beside.sort_values("verdict", key=lambda v: v == "not comparable", kind="stable").iterrows()
    ]
    return f"## Beside published numbers\n\nAccuracy in % of the test images.\n\n{grid(rows)}\n"


def _ours(row: pd.Series) -> str:
    std = f" ± {row['std']:.2f}" if row["n"] > 1 else ""
    return f"{number(row['ours'], 2)}{std} (n = {row['n']})"


def _theirs(row: pd.Series) -> str:
    text = f"{row['theirs']:.2f}"
    if pd.notna(row["spread"]):
        kind = f" {row['spread_kind']}" if row["spread_kind"] != "unknown" else ""
        text += f" ± {row['spread']:.2f}{kind}"
    return text + (f" (n = {row['runs']})" if pd.notna(row["runs"]) else "")
