"""What a suite says at present: its papers' tables, and its cells beside the published numbers."""

from __future__ import annotations

from collections.abc import Container, Sequence

from bench.analysis.cells import cells
from bench.analysis.published import beside
from bench.analysis.runs import CELL
from bench.grid import Run
from bench.reporting import layouts
from bench.reporting.material import gather
from bench.reporting.papers import paper_table
from bench.reporting.published import published_section
from bench.reporting.tables import written
from bench.store import Store


def judged(store: Store, runs: Sequence[Run], names: Sequence[str], own: Container[str] | None = None) -> str:
    """Markdown of those runs that are stored; nothing where none is.

    Args:
        names: of layouts.
        own: ids of the runs whose cells are judged; None: all.
    """
    standings = store.standings(runs)
    stored = [run for run in runs if standings[run.id].status is not None]
    if not stored:
        return ""
    material = gather(store, store.records(stored))
    frame = material.frame
    chosen = frame if own is None else frame[[run_id in own for run_id in frame["id"]]]
    summary = cells(frame.merge(chosen[CELL].drop_duplicates(), on=CELL))
    tables = [written([paper_table(name, layouts.read(name), material)], "markdown") for name in names]
    return "\n".join([*tables, published_section(beside(summary))])
