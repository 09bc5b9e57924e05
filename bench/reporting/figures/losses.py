"""The losses of all players along training: a panel per variant, at its largest budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from bench.reporting.figures.lines import Line, draw_mean, draw_seeds, lines_of, short, single_x
from bench.reporting.figures.panels import Part, compose, grid_height, grid_of, labels, line_handle, lost, wrapped
from bench.reporting.figures.reading import cell_records
from bench.reporting.figures.style import Style, numbered, styled
from bench.reporting.material import Material
from bench.store import Record

LOSS = "/loss"  # what a player's name is followed by in the logs
ACROSS = 4
LARGEST = 1e9  # what is beyond has left all scales: a gap

Losses = Mapping[str, list[Line]]  # by player


@styled
def draw(material: Material) -> Figure | None:
    """None where no run has logged a loss."""
    return compose(material, _plan)


def _plan(group: Material) -> Part | None:
    largest: dict[str, tuple[int, Losses]] = {}
    for (variant, budget), records in cell_records(group).items():
        losses = _losses(records)
        if losses and budget >= largest.get(variant, (0, {}))[0]:
            largest[variant] = budget, losses
    if not largest:
        return None
    players = dict.fromkeys(player for _, losses in largest.values() for player in losses)
    own = {player: numbered(index) for index, player in enumerate(players)}
    marked = any(short(line) for _, losses in largest.values() for cell in losses.values() for line in cell)
    entries = [(line_handle(style, marker=style.marker if marked else ""), name) for name, style in own.items()]
    across = min(ACROSS, len(largest))
    titles = [_title(variant, *rest) for variant, rest in largest.items()]
    height = grid_height(titles, across, 1.75 if len(largest) > ACROSS else 2.6)
    return Part(height, partial(_draw, largest, own, titles, across), entries)


def _title(variant: str, budget: int, losses: Losses) -> str:
    gone = max(sum(not line.done for line in cell) for cell in losses.values())
    return wrapped(f"{variant}, {labels(budget)}", 28) + lost(gone)


def _losses(records: Sequence[Record]) -> Losses:
    """A line per run for each player that has logged a number."""
    names = dict.fromkeys(name for r in records for name in _logs(r) if name.endswith(LOSS))
    found = {}
    for name in names:
        own = [r for r in records if name in _logs(r) and any(v is not None for v in _logged(name, r))]
        if own:
            found[name.removesuffix(LOSS)] = lines_of(own, _steps, partial(_logged, name))
    return {player: lines for player, lines in found.items() if lines}


def _logs(record: Record) -> Mapping[str, Sequence[float | None]]:
    return record.curve.logs if record.curve else {}


def _steps(record: Record) -> Sequence[float]:
    return record.curve.steps if record.curve else []


def _logged(name: str, record: Record) -> Sequence[float | None]:
    return [None if value is None or abs(value) > LARGEST else value for value in _logs(record)[name]]


def _draw(
    largest: Mapping[str, tuple[int, Losses]],
    own: Mapping[str, Style],
    titles: Sequence[str],
    across: int,
    area: SubFigure,
) -> None:
    panels = grid_of(area, len(largest), across)
    for panel, title, (_, losses) in zip(panels, titles, largest.values(), strict=True):
        for player, cell in losses.items():
            draw_seeds(panel, cell, own[player])
            draw_mean(panel, cell, own[player])
        panel.set_title(title)
        _scale(panel, [line for cell in losses.values() for line in cell])
        panel.locator_params(axis="x", nbins=4)
    area.supxlabel("steps")
    area.supylabel("loss")


def _scale(panel: Axes, own: Sequence[Line]) -> None:
    """Limits that runs which diverged have no say in, unless there are no others."""
    done = [line for line in own if line.done]
    if done and len(done) < len(own):
        values = np.concatenate([line.y for line in done])
        low, high = np.nanmin(values), np.nanmax(values)
        margin = 0.1 * (high - low) or 1.0
        panel.set_ylim(low - margin, high + margin)
    single_x(panel, own)
