"""Two circles: one panel per variant with points, generated points and the decision boundary; a table beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from bench.analysis.belt import BELT, MIDDLE, measure
from bench.analysis.cells import summary
from bench.analysis.runs import CELL
from bench.errors import shorten
from bench.reporting.figures.panels import arranged, labels, wrapped
from bench.reporting.figures.saving import samples_of
from bench.reporting.figures.style import styled
from bench.reporting.formats import markdown_text
from bench.reporting.material import Material
from bench.reporting.pictures import draw_plane
from bench.store import Record

DATASET, INNER_CLASS, ACROSS = "two-circles", 1, 5
DPI = 110
Kept = list[tuple[Record, dict[str, Tensor]]]


@styled
def draw(material: Material) -> Figure | None:
    """The first seed of every cell; None where no run on two-circles has kept samples.

    Raises:
        UsageError: a file of samples is broken.
    """
    cells = list(_cells(material))
    if not cells:
        return None
    across = min(len(cells), ACROSS)
    down = -(-len(cells) // across)
    figure = Figure(figsize=(3.2 * across, 3.7 * down), dpi=DPI)
    panels = figure.subplots(down, across, squeeze=False)
    for panel in panels.flat[len(cells) :]:
        panel.axis("off")
    for panel, (cell, kept) in zip(panels.flat, cells, strict=False):
        record, samples = kept[0]
        facts = f"{cell['protocol']}, {labels(cell['budget'])}, seed {record.run.seed}"
        draw_plane(panel, samples, -1)
        panel.set_title(f"{wrapped(cell['variant'], 36)}\n{shorten(facts, 44)}", size=10)
        panel.grid(visible=False)
    return arranged(figure)


def table(material: Material) -> str:
    """What was learnt, over all seeds, as Markdown: a table per dataset and protocol.

    Raises:
        UsageError: a file of samples is broken.
    """
    tables = [
        f"**{markdown_text(f'{dataset}, {protocol}')}**\n\n{_rows(cells)}\n"
        for dataset, protocol, group in material.groups()
        if (cells := list(_cells(group)))
    ]
    note = (
        f"Mean ± sample standard deviation over seeds. Belt: generated points between {BELT[0]} and {BELT[1]} of the "
        f"outer radius. Boundary: mean distance from the middle radius {MIDDLE} over all directions, on the way from "
        "one ring to the other; 0.25 where the classifier sees no difference.\n"
    )
    return "\n".join([*tables, note])


def _rows(cells: Sequence[tuple[pd.Series, Kept]]) -> str:
    rows = []
    for cell, kept in cells:
        runs = [{**measure(samples, INNER_CLASS), "accuracy": _accuracy(record)} for record, samples in kept]
        names = {"variant": markdown_text(cell["variant"]), "labels": str(cell["budget"]), "runs": str(len(kept))}
        rows.append({**names, **_texts(pd.DataFrame(runs))})
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True, colalign=["left"] + ["right"] * 5)


def _cells(material: Material) -> Iterator[tuple[pd.Series, Kept]]:
    """The cells on two-circles, as their first row, with the runs that are done and have samples."""
    frame = material.frame
    done = frame[(frame["base_dataset"] == DATASET) & (frame["status"] == "done")]
    for _, cell in done.groupby(CELL, sort=False):
        records = [material.records[run] for run in cell.sort_values("seed")["id"]]
        kept = [(record, own) for record in records if (own := samples_of(material.store, record)) is not None]
        if kept:
            yield cell.iloc[0], kept


def _accuracy(record: Record) -> float:
    assert record.curve is not None
    return 100 * (1 - getattr(record.curve, record.accuracy_of)[-1] / record.test_images)


def _texts(found: pd.DataFrame) -> dict[str, str]:
    return {
        "in the belt (%)": _mean(found["belt"], 1),
        "boundary off by": _mean(found["distance"], 3),
        "accuracy (%)": _mean(found["accuracy"], 1),
    }


def _mean(values: pd.Series[float], digits: int) -> str:
    found = summary(values.dropna())
    if not found["n"]:
        return "\N{EN DASH}"
    return f"{found['mean']:.{digits}f}" + (f" ± {found['std']:.{digits}f}" if found["n"] > 1 else "")
