"""Learning curves against steps or seconds, shared out over panels.

Few variants lie in one panel per budget, a line each; of many, each has a panel of its own with a line per budget.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from bench.reporting.figures.lines import Line, draw_mean, draw_seeds, lines_of, mean_line, short, single_x
from bench.reporting.figures.panels import Part, compose, grid_height, grid_of, labels, line_handle, lost, wrapped
from bench.reporting.figures.reading import budgets_of, cell_records, variants_of
from bench.reporting.figures.scales import error_y
from bench.reporting.figures.style import GREY, Style, baseline, numbered, styles
from bench.reporting.material import Material
from bench.store import Record

FEW = 6  # variants that share a panel
ASIDE = 7  # points (1/72 inch) between the single marks of two variants
TRIANGLES: dict[str, Any] = {"color": "black", "linestyle": "none", "marker": "^", "markersize": 5}

Cell = tuple[str, int]  # variant and budget
Cells = Mapping[Cell, list[Line]]


@dataclass(frozen=True)
class Points:
    """Somebody else's curve for a cell: errors in percent `[points]` against x."""

    cell: Cell
    name: str
    x: Sequence[float]
    error: Sequence[float]


@dataclass(frozen=True)
class Against:
    """What errors are drawn against: its name with the unit, a run's values `[evaluations]`, and curves beside ours."""

    label: str
    of: Callable[[Record], Sequence[float]]
    beside: Callable[[Material], Sequence[Points]] = lambda group: ()


@dataclass(frozen=True)
class Panel:
    """A panel's title, the cells in it with their styles, and cells whose mean alone is shown."""

    title: str
    cells: Mapping[Cell, Style]
    means: Mapping[Cell, Style] = field(default_factory=dict)


def learning_curves(material: Material, against: Against) -> Figure | None:
    """A sheet of learning curves; None where nothing was measured."""
    return compose(material, partial(_plan, against))


def error_curve(record: Record) -> list[float]:
    """Test error in percent `[evaluations]`, of the weights that give the run's accuracy."""
    wrong = getattr(record.curve, record.accuracy_of)
    return [100 * count / record.test_images for count in wrong]


def _plan(against: Against, group: Material) -> Part | None:
    cells = {
        cell: own for cell, runs in cell_records(group).items() if (own := lines_of(runs, against.of, error_curve))
    }
    if not cells:
        return None
    few = len({variant for variant, _ in cells}) <= FEW
    panels, entries = (_per_budget if few else _per_variant)(cells, group)
    beside = [points for points in against.beside(group) if points.cell in cells]
    entries += [(Line2D([], [], **TRIANGLES), f"{points.cell[0]}: {points.name}") for points in beside]
    across = min(len(panels), 3 if few else 5)
    height = grid_height([panel.title for panel in panels], across, 3.1 if few else 1.65)
    return Part(height, partial(_draw, cells, panels, beside, against.label, across), entries)


def _per_budget(cells: Cells, group: Material) -> tuple[list[Panel], list[tuple[Artist, str]]]:
    """A panel per budget with a line per variant; the legend names the variants."""
    own = styles(variants_of(group.frame))
    shown = [name for name in own if any(variant == name for variant, _ in cells)]
    panels = [
        Panel(labels(budget), {(name, budget): own[name] for name in shown if (name, budget) in cells})
        for budget in sorted({budget for _, budget in cells})
    ]
    return panels, [(_handle(own[name], cells), name + _lost(cells, name)) for name in shown]


def _per_variant(cells: Cells, group: Material) -> tuple[list[Panel], list[tuple[Artist, str]]]:
    """A panel per variant with a line per budget and the baseline's means; the legend names the budgets."""
    budgets = {budget: numbered(index) for index, budget in enumerate(budgets_of(group.frame))}
    base = baseline(variants_of(group.frame))
    grey = {
        (base, budget): Style(GREY, style.dash, style.marker)
        for budget, style in budgets.items()
        if base is not None and (base, budget) in cells
    }
    panels = [
        Panel(
            wrapped(name, 25) + _lost(cells, name),
            {(name, budget): style for budget, style in budgets.items() if (name, budget) in cells},
            grey if name != base else {},
        )
        for name in dict.fromkeys(variant for variant, _ in cells)
    ]
    entries: list[tuple[Artist, str]] = [(_handle(style, cells), labels(b)) for b, style in budgets.items()]
    if grey:
        entries.append((_handle(next(iter(grey.values())), cells), f"{base}, mean"))
    return panels, entries


def _handle(style: Style, cells: Cells) -> Line2D:
    marked = any(short(line) for cell in cells.values() for line in cell)
    return line_handle(style, marker=style.marker if marked else "")


def _lost(cells: Cells, name: str) -> str:
    """How many of a variant's lines enter no mean."""
    return lost(sum(not line.done for (variant, _), cell in cells.items() if variant == name for line in cell))


def _draw(
    cells: Cells, panels: Sequence[Panel], beside: Sequence[Points], label: str, across: int, area: SubFigure
) -> None:
    together = len({tuple(line.x) for cell in cells.values() for line in cell}) == 1
    axes = grid_of(area, len(panels), across, sharex=True, sharey=True)
    for axis, panel in zip(axes, panels, strict=True):
        axis.set_title(panel.title)
        for cell, style in panel.means.items():
            draw_mean(axis, cells[cell], style, band=False, width=1)
        for index, (cell, style) in enumerate(panel.cells.items()):
            aside = together * ASIDE * (index - (len(panel.cells) - 1) / 2)
            draw_seeds(axis, cells[cell], style, aside)
            draw_mean(axis, cells[cell], style, aside=aside)
        for points in beside:
            if points.cell in panel.cells:
                axis.plot(points.x, points.error, **TRIANGLES, zorder=4)
    _scale(axes[0], cells.values(), beside)
    axes[0].locator_params(axis="x", nbins=6 if len(panels) <= 3 else 4)
    area.supxlabel(label)
    area.supylabel("test error (%)")


def _scale(axis: Axes, cells: Collection[Sequence[Line]], beside: Sequence[Points]) -> None:
    """Limits that show every run; of single points they also show the intervals, as far as errors go."""
    lines = [line for cell in cells for line in cell]
    shown = [np.concatenate([line.y for line in lines]), *(np.array(points.error) for points in beside)]
    if all(map(short, lines)):
        shown += [np.clip(end, 0, 100) for cell in cells if (found := mean_line(cell)) for end in found[2:]]
    errors = np.concatenate(shown)
    error_y(axis, errors[np.isfinite(errors)], factors=not all(map(short, lines)))
    single_x(axis, lines)
