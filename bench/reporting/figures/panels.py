"""Sheets of panels: one part under the other for each dataset and protocol, with headings and legends."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from bench.analysis.cells import METRICS
from bench.errors import shorten
from bench.reporting.figures.style import Style
from bench.reporting.material import Material

WIDTH = 10.0  # inches of every sheet
LETTER, LINE = 0.075, 0.16  # inches that a letter and a line of text take, about
HANDLE = 0.65  # inches that a legend's sample of a line takes
LONGEST = 60  # letters of a name in a legend
PAD = 0.06  # inches around a panel
HIGHEST = 60_000  # pixels: more than 65,535 cannot be drawn
POINTS = {"accuracy": "points of accuracy", "error": "points of error", "errors": "wrong test images"}

Entries = Sequence[tuple[Artist, str]]


@dataclass(frozen=True)
class Part:
    """What is drawn of one dataset and protocol: its height in inches, how to draw it, and the legend below it."""

    height: float
    draw: Callable[[SubFigure], None]
    entries: Entries = ()


def compose(material: Material, plan: Callable[[Material], Part | None]) -> Figure | None:
    """A sheet of what `plan` makes of each dataset and protocol; None where it makes nothing of any of them."""
    rows: list[tuple[float, Callable[[SubFigure], None]]] = []
    for dataset, protocol, group in material.groups():
        if part := plan(group):
            rows.append((2 * LINE, _writer(heading(dataset, protocol, group))))
            rows.append((part.height, part.draw))
            if part.entries:
                rows.append(_legend(part.entries))
    if not rows:
        return None
    heights = [height for height, _ in rows]
    figure = Figure(figsize=(WIDTH, sum(heights)))
    figure.set_dpi(min(figure.dpi, HIGHEST / sum(heights)))
    areas = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    for area, (_, draw) in zip(areas, rows, strict=True):
        draw(area)
    return arranged(figure)


def arranged(figure: Figure) -> Figure:
    """The figure with its panels placed so that nothing overlaps: once, where a layout engine does it at each draw.

    The solver's last decimals differ from one time to the next, and files would with them.
    """
    ConstrainedLayoutEngine(h_pad=PAD, w_pad=PAD).execute(figure)
    for area in figure.subfigs:
        area.bbox_relative.set_points(area.bbox_relative.get_points().round(6))
    for panel in figure.axes:
        panel.set_position(Bbox(panel.get_position(original=True).get_points().round(6)))
    return figure


def heading(dataset: str, protocol: str, group: Material) -> str:
    """What the runs are, how many seeds a cell has, and how many of them were lost."""
    done = group.frame["status"] == "done"
    sizes = done.groupby([group.frame["variant"], group.frame["budget"]]).sum()
    few, many = int(sizes.min()), int(sizes.max())
    count = f"{few} to {many} seeds" if few < many else "1 seed" if many == 1 else f"{many} seeds"
    lost = int((~done).sum())
    kind = shorten(f"{dataset}, {protocol}", 70)
    return f"{kind}: {count} per cell" + (f", {lost} of {len(done)} runs failed or diverged" if lost else "")


def _writer(title: str) -> Callable[[SubFigure], None]:
    def write(area: SubFigure) -> None:
        area.text(0.008, 0.35, title, weight="bold", size=10.5, verticalalignment="center")

    return write


def _legend(entries: Entries) -> tuple[float, Callable[[SubFigure], None]]:
    """The height of a legend in inches, in as many columns as fit, and how to draw it."""
    handles, names = zip(*((handle, shorten(name, LONGEST)) for handle, name in entries), strict=True)
    fit = max(1, int(WIDTH / (LETTER * max(map(len, names)) + HANDLE)))
    columns = min(len(names), fit)
    height = 1.15 * LINE * -(-len(names) // columns) + 0.12

    def draw(area: SubFigure) -> None:
        area.legend(handles, names, loc="upper center", ncols=columns, borderaxespad=0, borderpad=0)

    return height, draw


def grid_of(area: SubFigure, count: int, across: int, **options: Any) -> list[Axes]:
    """The first `count` panels of a grid; the lowest of each column carries the numbers of a shared axis."""
    panels = area.subplots(-(-count // across), across, squeeze=False, **options)
    for column in range(min(across, count)):
        panels[(count - 1 - column) // across, column].tick_params(labelbottom=True)
    for panel in panels.flat[count:]:
        panel.remove()
    return list(panels.flat[:count])


def grid_height(titles: Sequence[str], across: int, height: float) -> float:
    """Inches that a grid of panels takes, each row with room for the longest of its titles."""
    rows = [titles[first : first + across] for first in range(0, len(titles), across)]
    return 0.4 + sum(height + LINE * max(title.count("\n") for title in row) for row in rows)


def metric_label(material: Material) -> str:
    """The metric with its unit, and the policy where it is not the usual one."""
    return METRICS[material.metric] + policy_label(material)


def points_label(material: Material, base: str) -> str:
    """The unit of differences to a base."""
    return f"difference to {shorten(base, 40)} ({POINTS[material.metric]}){policy_label(material)}"


def policy_label(material: Material) -> str:
    return "" if material.policy == "last" else f", policy {material.policy}"


def labels(budget: int) -> str:
    return f"{budget} labels"


def lost(count: int) -> str:
    """What to say of runs that enter no mean; nothing where there are none."""
    return f" ({count} lost)" if count else ""


def wrapped(name: str, width: int) -> str:
    """The name on lines of at most so many letters, at best broken before a bracket or behind a comma."""
    spaced = re.sub(r",(?! )", ", ", shorten(name, 120)) if len(name) > width else name
    if max(map(len, spaced.split(" "))) > width:
        spaced = spaced.replace("[", " [", 1)
    return textwrap.fill(spaced, width, break_on_hyphens=False)


def line_handle(style: Style, **options: Any) -> Line2D:
    """The sample of a line in a legend."""
    return Line2D([], [], color=style.color, linestyle=style.dash, **options)


def marker_handle(style: Style, **options: Any) -> Line2D:
    """The sample of a marker in a legend."""
    return Line2D([], [], color=style.color, linestyle="none", marker=style.marker, **options)


def around(center: float, low: float, high: float) -> NDArray[np.floating]:
    """What error bars take for an interval `[2, 1]`: nothing where the interval is missing."""
    return np.nan_to_num(np.array([[center - low], [high - center]]))
