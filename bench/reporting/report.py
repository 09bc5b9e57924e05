"""A report: tables, figures, comparisons and one page, in a folder of their own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.pyplot import close

from bench.analysis.aggregate import aggregates
from bench.analysis.comparison import comparisons, quartiles
from bench.analysis.leaders import leaders
from bench.analysis.published import beside
from bench.errors import UsageError, shorten
from bench.reporting import layouts
from bench.reporting.comparison import baseline_only, comparison_report
from bench.reporting.figures.kinds import KINDS, Kind
from bench.reporting.figures.saving import figure_bytes
from bench.reporting.formats import as_html
from bench.reporting.material import Material
from bench.reporting.page import LayoutTable, Picture, build
from bench.reporting.papers import has_ours, paper_csv, paper_table
from bench.reporting.published import published_section
from bench.reporting.table import Table
from bench.reporting.tables import FORMATS, budget_tables, csv_table, written

PAGE, FIGURES, TABLES = "index.html", "figures", "tables"
ENDINGS = {"markdown": ".md", "latex": ".tex", "html": ".html"}


def write(material: Material, output: Path, title: str) -> dict[str, int]:
    """Writes `index.html`, `comparison.md`, and the folders `tables` and `figures`, in the place of an earlier report.

    Returns: how many files there are of each kind.

    Raises:
        UsageError: there are no runs, the folder holds something else than a report, or it cannot be written.
    """
    if material.frame.empty:
        raise UsageError("there are no runs to report on. Make some with `bench run`.")
    _make_room(output)
    papers = paper_tables(material)
    figures = _write_figures(material, output / FIGURES)
    tables = _write_tables(material, papers, output / TABLES)
    _write(output / "comparison.md", _comparison(material))
    _write(output / PAGE, build(material, figures, [LayoutTable(t.caption, as_html(t)) for _, t in papers], title))
    return {"figures": len(figures), "tables": tables, "bytes": (output / PAGE).stat().st_size}


def pictures(material: Material) -> list[Picture]:
    """The figures of a page that is only shown."""
    return [
        _picture(kind, dataset, protocol, figure_bytes(figure, ".png"), "png")
        for kind, dataset, protocol, figure in _drawn(material)
    ]


def paper_tables(material: Material) -> list[tuple[str, Table]]:
    """The layouts into which some run belongs, by name."""
    read = ((name, layouts.read(name)) for name in layouts.names())
    return [(n, paper_table(n, layout, material)) for n, layout in read if has_ours(layout, material)]


# --- figures ---------------------------------------------------------------------------------------------------------


def _drawn(material: Material) -> Iterator[tuple[Kind, str, str, Figure]]:
    """Every kind of figure that there is something to draw for, by dataset and protocol; closed after use."""
    for dataset, protocol, part in material.groups():
        for kind in KINDS.values():
            figure = kind.draw(part)
            if figure is not None:
                yield kind, dataset, protocol, figure
                close(figure)


def _write_figures(material: Material, folder: Path) -> list[Picture]:
    """As SVG and as PNG; the page takes the smaller one."""
    made = []
    names: set[str] = set()
    for kind, dataset, protocol, figure in _drawn(material):
        name = _name(f"{kind.name}-{dataset}-{protocol}", names)
        both = {ending: figure_bytes(figure, ending) for ending in (".svg", ".png")}
        for ending, content in both.items():
            _write(folder / f"{name}{ending}", content)
        smaller = min(both, key=lambda ending: len(both[ending]))
        made.append(_picture(kind, dataset, protocol, both[smaller], smaller[1:]))
    return made


def _picture(kind: Kind, dataset: str, protocol: str, content: bytes, ending: str) -> Picture:
    return Picture(kind.title, kind.caption, f"{dataset}, {protocol}", content, "svg" if ending == "svg" else "png")


def _name(text: str, taken: set[str]) -> str:
    """The text as a portable name of a file that is not taken yet."""
    slug = re.sub(r"[^A-Za-z0-9.@+]+", "-", text).strip("-.")[:80]
    name = next(n for n in (slug, *(f"{slug}-{i}" for i in range(2, len(taken) + 3))) if n not in taken)
    taken.add(name)
    return name


# --- tables ----------------------------------------------------------------------------------------------------------


def _write_tables(material: Material, papers: Sequence[tuple[str, Table]], folder: Path) -> int:
    own = budget_tables(material.cells, material.metric, material.policy, leaders(material.frame, material.metric))
    for name, tables in (("cells", own), *((name, [table]) for name, table in papers)):
        for format in FORMATS:
            _write(folder / f"{name}{ENDINGS[format]}", written(tables, format))
    _write(folder / "cells.csv", csv_table(material.cells))
    for name, _ in papers:
        _write(folder / f"{name}.csv", paper_csv(layouts.read(name), material))
    return 1 + len(papers)


def _comparison(material: Material) -> str:
    """What `bench compare --published` says."""
    frame, metric = material.frame, material.metric
    alone = baseline_only(frame)
    text = comparison_report(
        quartiles(frame, metric), comparisons(frame, metric, alone), aggregates(frame, metric), metric,
        material.policy, alone,
    )  # fmt: skip
    return f"{text}\n{published_section(beside(material.with_metric('accuracy').cells))}"


# --- the folder ------------------------------------------------------------------------------------------------------


def _make_room(output: Path) -> None:
    """Removes the figures and tables of an earlier report, and nothing else."""
    try:
        if output.is_dir() and any(output.iterdir()) and not (output / PAGE).is_file():
            raise UsageError(
                f"--output {shorten(output, 300)!r} is a folder with other things in it. Name a new one, or the folder "
                f"of an earlier report (with {PAGE})."
            )
        for folder in (output / FIGURES, output / TABLES):
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
    except OSError as error:
        raise _unwritable(output, error) from error


def _write(path: Path, content: str | bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"--output: {shorten(path, 300)!r} cannot be written: {error.strerror}.")
