"""The figure of what a run costs as its cohort grows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.reporting.figures.scales import log_x, set_ticks
from bench.reporting.figures.style import GREY, Style, numbered, styled
from bench.speed.growth import Growth


@styled
def draw(growths: Mapping[str, Growth]) -> Figure:
    """Time per run-step relative to a cohort of 1: medians with their ranges, the fit in grey, knees with a ring."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    panel = figure.subplots()
    sizes = sorted({size for growth in growths.values() for size in growth.relative})
    for index, (title, growth) in enumerate(growths.items()):
        _line(panel, f"{title} ({growth.executor})", growth, numbered(index))
    log_x(panel, [float(size) for size in sizes])
    set_ticks(panel.xaxis, sizes)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("runs in the cohort")
    panel.set_ylabel("time per run-step, relative to a cohort of 1")
    panel.legend(loc="lower left")
    return figure


def _line(panel: Axes, label: str, growth: Growth, style: Style) -> None:
    sizes = sorted(growth.relative)
    middle = np.array([growth.relative[size].median for size in sizes])
    ends = [middle - [growth.relative[n].low for n in sizes], [growth.relative[n].high for n in sizes] - middle]
    fine = np.geomspace(sizes[0], sizes[-1], 100)
    panel.plot(fine, (growth.shared / fine + growth.own) / growth.seconds[1], color=GREY, linewidth=0.8, zorder=1)
    panel.errorbar(
        sizes, middle, ends, label=label, color=style.color, linestyle=style.dash, marker=style.marker, elinewidth=1
    )
    if growth.knee is not None:
        at = (growth.knee, growth.relative[growth.knee].median)
        panel.plot(*at, marker="o", markersize=11, markerfacecolor="none", markeredgecolor=style.color, linestyle="")
        panel.annotate(
            f"knee: {growth.knee}",
            at,
            (0, 10),
            textcoords="offset points",
            ha="center",
            color=style.color,
            fontsize=8.5,
        )
