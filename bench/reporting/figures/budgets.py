"""Accuracy against the number of labels, published points beside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure

from bench.analysis.published import Published, load
from bench.reporting.figures.panels import Part, around, compose, line_handle, marker_handle, metric_label
from bench.reporting.figures.reading import variants_of
from bench.reporting.figures.scales import set_ticks, within_percent
from bench.reporting.figures.style import INK, Style, styled, styles
from bench.reporting.material import Material

DODGE = 0.3  # of the distance between two budgets: what variants are shifted by, all together
ALONE = 1.35  # how far the axis reaches beyond the outer budgets, as a factor


@styled
def draw(material: Material) -> Figure | None:
    """None where no dataset and protocol has numbers for two budgets."""
    return compose(material, _plan)


def beside(group: Material) -> list[Published]:
    """Published numbers of a group's variants with their own recipes, one of each value; none beside smoke runs."""
    frame = group.frame
    if frame["protocol"].str.startswith("smoke").all() or group.metric == "errors":
        return []
    names = set(frame.loc[frame["variant"] == frame["base_variant"], "variant"])
    datasets = set(frame["base_dataset"])
    found = {
        (entry.variant, entry.budget, round(entry.accuracy, 2)): entry
        for entry in reversed(load())
        if entry.comparable and entry.budget != "all" and entry.dataset in datasets and entry.variant in names
    }
    return list(found.values())


def _plan(group: Material) -> Part | None:
    cells = group.cells[group.cells["n"] > 0]
    published = [entry for entry in beside(group) if entry.variant in set(cells["variant"])]
    budgets = sorted({*cells["budget"], *(int(entry.budget) for entry in published)})
    if cells.empty or len(budgets) < 2:
        return None
    own = styles(variants_of(group.frame))
    shown = [name for name in own if name in set(cells["variant"])]
    entries: list[tuple[Artist, str]] = [(line_handle(own[name], marker=own[name].marker), name) for name in shown]
    if published:
        hollow = marker_handle(Style(INK, "", "o"), markerfacecolor="white", markersize=7)
        entries.append((hollow, "published (hollow)"))
    return Part(4.3, partial(_draw, group, cells, published, budgets, {name: own[name] for name in shown}), entries)


def _draw(
    group: Material,
    cells: pd.DataFrame,
    published: Sequence[Published],
    budgets: Sequence[int],
    own: Mapping[str, Style],
    area: SubFigure,
) -> None:
    panel = area.subplots()
    shift = _shifts(budgets, list(own))
    for name, style in own.items():
        mine = cells[cells["variant"] == name].sort_values("budget")
        ends = np.hstack([around(cell["mean"], cell["ci_low"], cell["ci_high"]) for _, cell in mine.iterrows()])
        panel.errorbar(
            mine["budget"] * shift[name], mine["mean"], ends, color=style.color, linestyle=style.dash, linewidth=1.2,
            marker=style.marker, elinewidth=1, capsize=2,
        )  # fmt: skip
    for entry in published:
        style = own[str(entry.variant)]
        value = entry.accuracy if group.metric == "accuracy" else 100 - entry.accuracy
        panel.plot(
            int(entry.budget) * shift[str(entry.variant)], value, linestyle="none", marker=style.marker, markersize=7,
            markerfacecolor="white", markeredgecolor=style.color, zorder=4,
        )  # fmt: skip
    panel.set_xscale("log")
    panel.set_xlim(budgets[0] / ALONE, budgets[-1] * ALONE)
    set_ticks(panel.xaxis, budgets)
    if len(budgets) > 10:
        panel.tick_params(axis="x", rotation=60)
    within_percent(panel, group.metric)
    panel.set_xlabel("labelled training images")
    panel.set_ylabel(metric_label(group))


def _shifts(budgets: Sequence[int], names: Sequence[str]) -> dict[str, float]:
    """A factor for each variant, so that their intervals at one budget lie beside each other."""
    gap = min(math.log(b / a) for a, b in pairwise(budgets))
    places = np.linspace(-0.5, 0.5, len(names)) if len(names) > 1 else np.zeros(1)
    return {name: math.exp(DODGE * min(gap, 1.0) * place) for name, place in zip(names, places, strict=True)}
