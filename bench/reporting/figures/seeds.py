"""Every seed as a dot, and the mean of each cell as a bar."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from bench.reporting.figures.panels import Part, compose, metric_label
from bench.reporting.figures.reading import budgets_of, by_cell, measured, variants_of
from bench.reporting.figures.rows import row_panels, rows_height
from bench.reporting.figures.style import ACCENT, GREY, INK, baseline, styled
from bench.reporting.material import Material

SPREAD = 0.5  # of a row: dots are shifted so that equal ones stay apart


@styled
def draw(material: Material) -> Figure | None:
    """None where no run has a value."""
    return compose(material, _plan)


def _plan(group: Material) -> Part | None:
    runs = measured(group)
    if runs.empty:
        return None
    names, budgets = variants_of(group.frame), budgets_of(group.frame)
    entries = [
        (Line2D([], [], color=ACCENT, alpha=0.6, linestyle="none", marker="o"), "one seed"),
        (Line2D([], [], color=INK, linestyle="none", marker="|", markersize=11, markeredgewidth=1.8), "mean"),
    ]
    return Part(rows_height(names, budgets), partial(_draw, group, runs, names, budgets), entries)


def _draw(group: Material, runs: pd.DataFrame, names: list[str], budgets: list[int], area: SubFigure) -> None:
    panels, base = row_panels(area, names, budgets, metric_label(group)), baseline(names)
    for variant, budget, cell in by_cell(runs):
        row, values = names.index(variant), cell["value"].to_numpy()
        shift = np.linspace(-SPREAD / 2, SPREAD / 2, len(values)) if len(values) > 1 else np.zeros(1)
        color = GREY if variant == base else ACCENT
        panels[budget].scatter(values, row + shift, s=14, color=color, alpha=0.6, linewidths=0, zorder=2)
        panels[budget].vlines(values.mean(), row - 0.38, row + 0.38, color=INK, linewidth=1.8, zorder=3)
    for variant, budget, cell in by_cell(group.frame[group.frame["status"] != "done"]):
        at_the_right = panels[budget].get_yaxis_transform()
        panels[budget].text(
            0.995, names.index(variant), f"{len(cell)} lost", transform=at_the_right, ha="right", va="center", size=7.5,
            color="#A03000",
        )  # fmt: skip
