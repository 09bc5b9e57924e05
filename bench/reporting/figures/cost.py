"""Accuracy against what the training of a run costs: operations, and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure, SubFigure

from bench.execution.cost import training_flops
from bench.reporting.figures.panels import Part, around, compose, labels, marker_handle, metric_label
from bench.reporting.figures.reading import measured, seconds_per_run, variants_of
from bench.reporting.figures.scales import log_x, within_percent
from bench.reporting.figures.style import Style, styled, styles
from bench.reporting.material import Material

FLOPS, SECONDS = "floating point operations of training per run", "seconds of training per run"


@styled
def draw(material: Material) -> Figure | None:
    """None where no run has a value and a cost."""
    return compose(material, _plan)


def costs(group: Material) -> pd.DataFrame:
    """The cells that have a mean, with the columns `FLOPS` and `SECONDS` for a run's cost; missing where unknown."""
    runs = measured(group)
    runs[SECONDS] = [(seconds_per_run(group.records[run]) or [0.0])[-1] for run in runs["id"]]
    by_cell = runs.groupby(["variant", "budget"], sort=False)
    found = by_cell[SECONDS].mean().to_frame()
    found[FLOPS] = [training_flops(group.records[run].run) for run in by_cell["id"].first()]
    found = found.astype(float).where(lambda cost: cost > 0)
    return group.cells.merge(found.reset_index(), on=["variant", "budget"])


def _plan(group: Material) -> Part | None:
    found = costs(group)
    kinds = [kind for kind in (FLOPS, SECONDS) if found[kind].notna().any()]
    if not kinds:
        return None
    own = styles(variants_of(group.frame))
    shown = {name: own[name] for name in own if name in set(found["variant"])}
    budgets = sorted(found["budget"].unique())
    entries = [(marker_handle(style, markersize=6), name) for name, style in shown.items()]
    return Part(2.5 * len(budgets) + 0.5, partial(_draw, group, found, kinds, budgets, shown), entries)


def _draw(
    group: Material,
    found: pd.DataFrame,
    kinds: Sequence[str],
    budgets: Sequence[int],
    own: Mapping[str, Style],
    area: SubFigure,
) -> None:
    panels = area.subplots(len(budgets), len(kinds), squeeze=False, sharex="col", sharey="row")
    for row, budget in zip(panels, budgets, strict=True):
        row[0].set_title(labels(budget), loc="left")
        for panel, kind in zip(row, kinds, strict=True):
            for _, cell in found[(found["budget"] == budget) & found[kind].notna()].iterrows():
                style, ends = own[cell["variant"]], around(cell["mean"], cell["ci_low"], cell["ci_high"])
                panel.errorbar(
                    cell[kind], cell["mean"], ends, color=style.color, marker=style.marker, markersize=6.5,
                    elinewidth=1, markeredgecolor="white", markeredgewidth=0.5,
                )  # fmt: skip
        within_percent(row[0], group.metric)
    for panel, kind in zip(panels[-1], kinds, strict=True):
        log_x(panel, found[kind].dropna().tolist())
        panel.set_xlabel(kind)
    area.supylabel(metric_label(group))
