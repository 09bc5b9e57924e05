"""What changes of a variant's recipe make of it: bars of paired differences to the variant as it is."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from bench.reporting.figures.differences import differences_to, tells
from bench.reporting.figures.panels import Part, around, compose, points_label
from bench.reporting.figures.reading import variants_of
from bench.reporting.figures.rows import row_panels, rows_height
from bench.reporting.figures.style import ACCENT, INK, styled
from bench.reporting.material import Material

PALE = "#BBD6EA"


@styled
def draw(material: Material) -> Figure | None:
    """None where no variant stands beside itself with another recipe, on the same seeds."""
    return compose(material, _plan)


def changes(group: Material) -> pd.DataFrame:
    """The paired differences of each changed variant to the one that it is a change of, where that has its own name."""
    frame = group.frame
    base_of = dict(zip(frame["variant"], frame["base_variant"], strict=True))
    bases = [name for name, base in base_of.items() if name == base]
    families = [group.part(frame[frame["base_variant"] == base]) for base in bases]
    parts = [differences_to(family, base) for family, base in zip(families, bases, strict=True)]
    return pd.concat([part for part in parts if len(part)] or [pd.DataFrame()])


def _plan(group: Material) -> Part | None:
    found = changes(group)
    if found.empty:
        return None
    rows = [name for name in variants_of(group.frame) if name in set(found["variant"])]
    budgets = sorted(found["budget"].unique())
    label = points_label(group, "the variant as it is")
    entries = [
        (Patch(facecolor=ACCENT, edgecolor=ACCENT), "95 % interval leaves out 0"),
        (Patch(facecolor=PALE, edgecolor=ACCENT), "it does not, or there is none"),
    ]
    return Part(rows_height(rows, budgets), partial(_draw, found, rows, budgets, label), entries)


def _draw(found: pd.DataFrame, rows: list[str], budgets: list[int], label: str, area: SubFigure) -> None:
    panels = row_panels(area, rows, budgets, label)
    for panel in panels.values():
        panel.axvline(0, color=INK, linewidth=1, zorder=4)
    for _, own in found.iterrows():
        ends = around(own["difference"], own["low"], own["high"])
        panels[own["budget"]].barh(
            rows.index(own["variant"]), own["difference"], height=0.62, xerr=ends,
            error_kw={"elinewidth": 1}, ecolor=INK, capsize=3,
            color=ACCENT if tells(own) else PALE, edgecolor=ACCENT, linewidth=0.8, zorder=3,
        )  # fmt: skip
