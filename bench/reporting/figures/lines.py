"""The seeds of a cell as faint lines, and their mean with its interval."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray
from scipy import stats

from bench.analysis.cells import CONFIDENCE
from bench.reporting.figures.reading import curve_of
from bench.reporting.figures.style import Style
from bench.store import Record

Array = NDArray[np.floating]
FAINT = 0.28
FEW = 3  # points of a line that are marked, and have error bars instead of a band


@dataclass(frozen=True)
class Line:
    """One run's numbers against something `[evaluations]`; NaN is a gap."""

    steps: tuple[int, ...]
    x: Array
    y: Array
    done: bool  # it neither diverged nor failed


def short(line: Line) -> bool:
    """Whether the line is so short that its points are marked."""
    return len(line.x) <= FEW


def lines_of(
    records: Sequence[Record], x: Callable[[Record], Sequence[float]], y: Callable[[Record], Sequence[float | None]]
) -> list[Line]:
    """A line for each run that was measured; what is missing in y is a gap."""
    return [
        Line(tuple(curve.steps), np.array(x(r), dtype=float), np.array(y(r), dtype=float), r.status == "done")
        for r in records
        if (curve := curve_of(r)) is not None
    ]


def mean_line(cell: Sequence[Line]) -> tuple[Array, Array, Array, Array] | None:
    """x, the mean of y, and the ends of its 95 % Student-t interval `[evaluations]`, over the runs that are done.

    The ends are missing where fewer than two runs have a number. None: the runs were not measured at the same steps.
    """
    done = [line for line in cell if line.done]
    if len({line.steps for line in done}) != 1:
        return None
    values = np.ma.masked_invalid(np.stack([line.y for line in done]))
    n = values.count(axis=0)
    mean, std = values.mean(axis=0).filled(np.nan), np.full(len(n), np.nan)
    if len(done) > 1:
        std = np.ma.filled(values.std(axis=0, ddof=1), np.nan)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(n - 1, 1)) * std / np.sqrt(np.maximum(n, 1))
    return np.mean([line.x for line in done], axis=0), mean, mean - half, mean + half


def single_x(panel: Axes, own: Collection[Line]) -> None:
    """An x axis from 0, with marks in the middle of it where lines are but one point at one place."""
    if all(len(line.x) == 1 for line in own):
        places = {float(line.x[0]) for line in own}
        panel.set_xlim(0, (2 if len(places) == 1 else 1.15) * (max(places) or 1.0))


def draw_seeds(panel: Axes, cell: Sequence[Line], style: Style, aside: float = 0) -> None:
    """Every run, faintly; the marks of short lines `aside` by so many points (1/72 inch)."""
    faint: dict[str, Any] = {"alpha": FAINT, "zorder": 1}
    panel.add_collection(
        LineCollection([np.column_stack([own.x, own.y]) for own in cell], colors=style.color, linewidths=0.7, **faint)
    )
    if few := [own for own in cell if short(own)]:
        x, y = np.concatenate([own.x for own in few]), np.concatenate([own.y for own in few])
        mark: dict[str, Any] = {"linestyle": "none", "marker": style.marker, "markersize": 3, **_aside(panel, aside)}
        panel.plot(x, y, color=style.color, **mark, **faint)


def draw_mean(
    panel: Axes, cell: Sequence[Line], style: Style, band: bool = True, width: float = 1.6, aside: float = 0
) -> None:
    """The mean of the runs that are done, with its interval if wanted; nothing where it does not exist."""
    found = mean_line(cell)
    if found is None:
        return
    x, mean, low, high = found
    line: dict[str, Any] = {"color": style.color, "linestyle": style.dash, "linewidth": width, "zorder": 3}
    if len(x) <= FEW:
        ends = np.nan_to_num([mean - low, high - mean]) if band else None
        panel.errorbar(x, mean, ends, marker=style.marker, elinewidth=1, capsize=3, **line, **_aside(panel, aside))
        return
    panel.plot(x, mean, **line)
    if band and np.isfinite(low).any():
        panel.fill_between(x, low, high, where=np.isfinite(low), color=style.color, alpha=0.12, linewidth=0, zorder=2)


def _aside(panel: Axes, points: float) -> dict[str, Any]:
    """What shifts marks sideways on the page, whatever the scale of the axis."""
    if not points:
        return {}
    return {"transform": panel.transData + ScaledTranslation(points / 72, 0, panel.figure.dpi_scale_trans)}
