"""Paired differences to the baseline, with their intervals."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from bench.analysis.cells import values_of
from bench.analysis.paired import differences
from bench.reporting.figures.panels import Part, around, compose, points_label
from bench.reporting.figures.reading import variants_of
from bench.reporting.figures.rows import row_panels, rows_height
from bench.reporting.figures.style import ACCENT, INK, baseline, styled
from bench.reporting.material import Material


@styled
def draw(material: Material) -> Figure | None:
    """None where no two variants share a seed."""
    return compose(material, _plan)


def differences_to(group: Material, base: str) -> pd.DataFrame:
    """`bench.analysis.paired.differences` in the unit of the group's metric; only pairs that share a seed."""
    found = differences(group.frame.assign(accuracy=values_of(group.frame, group.metric)), base)
    return found[found["n"] > 0]


def tells(difference: pd.Series) -> bool:
    """Whether the interval leaves out 0."""
    return bool(difference["low"] > 0 or difference["high"] < 0)


def _plan(group: Material) -> Part | None:
    if group.frame.empty:
        return None
    names = variants_of(group.frame)
    base = baseline(names) or names[0]
    found = differences_to(group, base)
    if found.empty:
        return None
    rows = [name for name in names if name in set(found["variant"])]
    budgets = sorted(found["budget"].unique())
    dot: dict[str, Any] = {"color": ACCENT, "marker": "o", "markersize": 5.5}
    entries = [
        (Line2D([], [], **dot), "95 % interval leaves out 0"),
        (Line2D([], [], **dot, markerfacecolor="white"), "it does not, or there is none"),
    ]
    return Part(rows_height(rows, budgets), partial(_draw, found, rows, budgets, points_label(group, base)), entries)


def _draw(found: pd.DataFrame, rows: list[str], budgets: list[int], label: str, area: SubFigure) -> None:
    panels = row_panels(area, rows, budgets, label)
    for panel in panels.values():
        panel.axvline(0, color=INK, linewidth=1, zorder=1)
    for _, own in found.iterrows():
        ends = around(own["difference"], own["low"], own["high"])
        filled = ACCENT if tells(own) else "white"
        panels[own["budget"]].errorbar(
            own["difference"], rows.index(own["variant"]), xerr=ends, color=ACCENT, elinewidth=1.4, capsize=3,
            marker="o", markersize=5.5, markerfacecolor=filled, zorder=3,
        )  # fmt: skip
