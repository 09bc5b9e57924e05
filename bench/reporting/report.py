"""A report: tables, figures, comparisons and one page, in a folder of their own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.analysis.aggregate import aggregates
from bench.analysis.comparison import comparisons, quartiles
from bench.analysis.leaders import leaders
from bench.analysis.published import beside
from bench.errors import UsageError, shorten
from bench.reporting import layouts
from bench.reporting.comparison import baseline_only, comparison_report
from bench.reporting.drawing import Drawn, drawing
from bench.reporting.formats import as_html
from bench.reporting.material import Material
from bench.reporting.page import GENERATOR, LayoutTable, Picture, build
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
    with drawing(material, (".svg", ".png")) as drawn:  # in processes of their own, while this one counts and tests
        papers = paper_tables(material)
        tables = _write_tables(material, papers, output / TABLES)
        _write(output / "comparison.md", _comparison(material))
        figures = _write_figures(drawn, output / FIGURES)
    _write(output / PAGE, build(material, figures, [LayoutTable(t.caption, as_html(t)) for _, t in papers], title))
    return {"figures": len(figures), "tables": tables, "bytes": (output / PAGE).stat().st_size}


def paper_tables(material: Material) -> list[tuple[str, Table]]:
    """The layouts into which some run belongs, by name."""
    read = ((name, layouts.read(name)) for name in layouts.names())
    return [(n, paper_table(n, layout, material)) for n, layout in read if has_ours(layout, material)]


def _write_figures(drawn: Iterable[Drawn], folder: Path) -> list[Picture]:
    """As SVG and as PNG; the page takes the smaller one."""
    made = []
    names: set[str] = set()
    for figure in drawn:
        name = _name(f"{figure.kind.name}-{figure.dataset}-{figure.protocol}", names)
        for ending, content in figure.files.items():
            _write(folder / f"{name}{ending}", content)
        made.append(figure.picture(min(figure.files, key=lambda ending: len(figure.files[ending]))))
    return made


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
        if output.is_dir() and any(output.iterdir()) and not _is_report(output / PAGE):
            raise UsageError(
                f"--output {shorten(output, 300)!r} is a folder with other things in it. Name a new one, or the folder "
                f"of an earlier report."
            )
        for folder in (output / FIGURES, output / TABLES):
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
    except OSError as error:
        raise _unwritable(output, error) from error


def _is_report(page: Path) -> bool:
    return page.is_file() and f'content="{GENERATOR}"'.encode() in page.read_bytes()


def _write(path: Path, content: str | bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"--output: {shorten(path, 300)!r} cannot be written: {error.strerror}.")
