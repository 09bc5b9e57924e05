"""Panels whose rows are variants, beside each other for the budgets: names of any length have room on the left."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from bench.reporting.figures.panels import LINE, labels, wrapped

NAME = 42  # letters of a line of a name
ACROSS = 5  # panels beside each other


def rows_height(names: Sequence[str], budgets: Sequence[int]) -> float:
    """Inches that the panels take."""
    tallest = max(len(wrapped(name, NAME).splitlines()) for name in names)
    return (max(len(names) * (0.13 + LINE * tallest), 0.5) + 0.45) * -(-len(budgets) // ACROSS) + 0.35


def row_panels(area: SubFigure, names: Sequence[str], budgets: Sequence[int], label: str) -> dict[int, Axes]:
    """A panel per budget; row i, from the top, is that of the i-th name. `label` is the unit of all x axes."""
    across = min(ACROSS, len(budgets))
    panels = area.subplots(-(-len(budgets) // across), across, squeeze=False, sharey=True)
    for panel in panels.flat[len(budgets) :]:
        panel.remove()
    found = dict(zip(budgets, panels.flat, strict=False))
    for budget, panel in found.items():
        panel.set_title(labels(budget))
        panel.grid(axis="y", visible=False)
        panel.spines["left"].set_visible(False)
        panel.tick_params(axis="y", length=0)
        for row in range(0, len(names), 2):
            panel.axhspan(row - 0.5, row + 0.5, color="#f5f5f5", linewidth=0, zorder=0)
    first = next(iter(found.values()))
    first.set_yticks(range(len(names)), [wrapped(name, NAME) for name in names])
    first.set_ylim(len(names) - 0.5, -0.5)
    area.supxlabel(label)
    return found
