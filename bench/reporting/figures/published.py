"""Measured against published accuracy: on the diagonal they agree."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from bench.analysis.cells import cells
from bench.analysis.published import beside
from bench.errors import shorten
from bench.reporting.figures.panels import Part, compose, labels, policy_label
from bench.reporting.figures.placing import place
from bench.reporting.figures.reading import variants_of
from bench.reporting.figures.style import GREY, INK, Style, styled, styles
from bench.reporting.material import Material

SIDE = 4.6  # inches of the panel
LETTERS = 82  # of a line of the key
NEAR = 0.012  # of the range of all numbers: those of one cell that differ by less are one entry of the key


@dataclass(frozen=True)
class Entry:
    """Published numbers of one cell, alike but for rounding: rows of `bench.analysis.published.beside`."""

    rows: pd.DataFrame

    @property
    def theirs(self) -> float:
        return float(self.rows["theirs"].mean())

    @property
    def ours(self) -> float:
        return float(self.rows["ours"].iloc[0])

    @property
    def text(self) -> str:
        """A line of the key: the cell, the numbers and where they were published."""
        first = self.rows.iloc[0]
        low, high = self.rows["theirs"].min(), self.rows["theirs"].max()
        numbers = f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
        sources = list(dict.fromkeys(self.rows.sort_index()["source"]))
        more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
        return f"{shorten(first['variant'], 40)}, {labels(first['budget'])}: {numbers} ({sources[0]}{more})"


@styled
def draw(material: Material) -> Figure | None:
    """None where nothing has been published for the cells, and for smoke runs."""
    return compose(material, _plan)


def entries_of(group: Material) -> list[Entry]:
    """What was published for a group's cells, the cells in their order; of each cell the highest number first."""
    frame = group.frame
    if frame["protocol"].str.startswith("smoke").all():
        return []
    found = beside(cells(frame)).dropna(subset="ours")
    near = NEAR * (found[["ours", "theirs"]].max().max() - found[["ours", "theirs"]].min().min())
    entries = []
    for _, cell in found.groupby(["variant", "budget"], sort=False):
        ordered = cell.sort_values("theirs", ascending=False, kind="stable")
        steps = (ordered["theirs"].diff().abs() > near).cumsum()
        entries += [Entry(rows) for _, rows in ordered.groupby(steps)]
    return entries


def _plan(group: Material) -> Part | None:
    entries = entries_of(group)
    if not entries:
        return None
    key = [
        textwrap.wrap(f"{index:>2}  {entry.text}", LETTERS, subsequent_indent="    ")
        for index, entry in enumerate(entries, 1)
    ]
    height = max(SIDE, 0.3 + 0.13 * sum(map(len, key)))
    dot: dict[str, Any] = {"color": INK, "linestyle": "none", "marker": "o"}
    legend = [
        (Line2D([], [], **dot), "comparable"),
        (Line2D([], [], **dot, markerfacecolor="white"), "not comparable"),
        (Line2D([], [], color=GREY, linewidth=1), "both the same"),
    ]
    own = styles(variants_of(group.frame))
    text = "\n".join(line for lines in key for line in lines)
    return Part(height, partial(_draw, entries, own, text, policy_label(group)), legend)


def _draw(entries: Sequence[Entry], own: Mapping[str, Style], key: str, policy: str, area: SubFigure) -> None:
    panel, margin = area.subplots(1, 2, width_ratios=[1, 1])
    margin.axis("off")
    margin.text(0, 1, key, va="top", size=7.5, linespacing=1.25)
    low, high = _limits(entries)
    panel.plot([low, high], [low, high], color=GREY, linewidth=1, zorder=1)
    for entry in entries:
        for _, row in entry.rows.iterrows():
            style = own[row["variant"]]
            hollow = row["verdict"] == "not comparable"
            panel.errorbar(
                row["theirs"], row["ours"], xerr=_bar(row["spread"]), yerr=_bar(row["std"]), color=style.color,
                marker=style.marker, markersize=6, markerfacecolor="white" if hollow else style.color, elinewidth=0.8,
                zorder=3,
            )  # fmt: skip
    scale = 72 * SIDE * 0.85 / (high - low)
    shifts = place([(entry.theirs * scale, entry.ours * scale) for entry in entries])
    for index, (entry, shift) in enumerate(zip(entries, shifts, strict=True), 1):
        panel.annotate(
            str(index), (entry.theirs, entry.ours), shift, textcoords="offset points", ha="center", va="center", size=8,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 3, "shrinkB": 2}, zorder=4,
        )  # fmt: skip
    panel.set(xlim=(low, high), ylim=(low, high), aspect="equal", xlabel="published accuracy (%)")
    panel.set_ylabel(f"our accuracy (%){policy}")


def _limits(entries: Sequence[Entry]) -> tuple[float, float]:
    """Of both axes: all points with room for their numbers."""
    values = [value for entry in entries for value in (*entry.rows["theirs"], entry.ours)]
    margin = max(0.07 * (max(values) - min(values)), 0.5)
    return min(values) - margin, max(values) + margin


def _bar(spread: float) -> float:
    return 0.0 if pd.isna(spread) else float(spread)
