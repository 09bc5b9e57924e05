"""Tables in the layout of a paper: what the papers print, and ours beside it."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import UsageError
from bench.grid import suites
from bench.reporting import layouts, papers
from bench.reporting.formats import as_html, as_latex, as_lines, as_markdown
from bench.reporting.material import Material
from bench.reporting.table import Entry, Table
from bench.store import Store

DASH = "\N{EN DASH}"
TABLE_2 = [  # as the slides print it
    ["FM-GAN", "83.23 ± 4.52", "97.79 ± 1.36", "99.07 ± 0.07", "99.10 ± 0.04"],
    ["Bad GAN", DASH, DASH, "99.21 ± 0.10", DASH],
    ["Triple-GAN", "95.19 ± 4.95", "98.44 ± 0.72", "99.09 ± 0.58", "99.33 ± 0.16"],
    ["Bad GAN †", "88.38 ± 3.08 *", "96.24 ± 0.16", "99.17 ± 0.03", "99.20 ± 0.03"],
    ["Triple-GAN †", "95.93 ± 4.45 *", "98.68 ± 1.12", "99.07 ± 0.46", "99.17 ± 0.08"],
    ["UGAN", "97.34 ± 6.86 *", "98.92 ± 0.13", "99.21 ± 0.08", "99.35 ± 0.05"],
]
HOSTILE = [
    "bad_gan",
    "50%",
    "$x^2$",
    "<img src=x onerror=alert(1)>",
    "a|b",
    "\\end{table}",
    "red\x1b[31m",
    "two\nlines",
]


def runs(errors: list[float], **columns: object) -> pd.DataFrame:
    """Done runs on MNIST at 20 labels, one per seed, with so many wrong images of 10,000."""
    rows = [
        {
            **{
                "id": f"{columns.get('variant', 'fm')}-{seed}",
                "dataset": "mnist",
                "protocol": "paper",
                "variant": "fm",
            },
            **{"budget": 20, "selection": "balanced", "validation": 0, "unlabelled": None, "seed": seed},
            **{"status": "done", "policy": "last", "errors": wrong, "test_images": 10_000},
            **{"accuracy": 100 - wrong / 100, "base_dataset": "mnist"},
            **columns,
        }
        for seed, wrong in enumerate(errors)
    ]
    return pd.DataFrame(rows).assign(base_variant=lambda frame: frame["variant"])


def material(*frames: pd.DataFrame) -> Material:
    return Material(Store(Path("unused")), {}, pd.concat(frames, ignore_index=True))


def grid(table: Table) -> list[list[str]]:
    return [[entry.text for entry in row] for row in table.rows]


def paper_table(name: str, *frames: pd.DataFrame) -> Table:
    return papers.paper_table(name, layouts.read(name), material(*frames))


def test_table_2_prints_what_the_slides_print() -> None:
    table = paper_table("table2", runs([300, 500]))
    assert grid(table)[:6] == TABLE_2
    assert table.head == ("", "20", "50", "100", "200")
    assert table.rules == {6}
    notes = " ".join(table.notes)
    assert "* labelled images picked by hand." in notes
    assert "† the source's own implementation" in notes
    assert "‡" not in notes
    assert "standard deviation over 10 runs" in notes


def test_ours_stand_below_once_per_protocol() -> None:
    tenth = runs([1000, 1200], protocol="paper@0.1")
    table = paper_table("table2", runs([300, 500]), tenth, runs([100, 100], budget=200), runs([90], variant="other"))
    ours = grid(table)[6:]
    assert ["FM-GAN, ours (paper)", "96.00 ± 1.41", DASH, DASH, "99.00 ± 0.00"] in ours
    assert ["FM-GAN, ours (paper@0.1)", "89.00 ± 1.41", DASH, DASH, DASH] in ours
    assert ["UGAN, ours", DASH, DASH, DASH, DASH] in ours
    assert not any("other" in row[0] for row in ours)
    assert "n = 2 runs per cell" in " ".join(table.notes)


@pytest.mark.parametrize("protocol", ["smoke", "smoke@0.5", "smoke+v10"])
def test_smoke_runs_never_stand_beside_published_ones(protocol: str) -> None:
    smoke = runs([300, 500], protocol=protocol)
    table = paper_table("table2", smoke)
    assert ["FM-GAN, ours", DASH, DASH, DASH, DASH] in grid(table)
    assert "Smoke runs are left out" in " ".join(table.notes)
    assert not papers.has_ours(layouts.read("table2"), material(smoke))
    assert papers.has_ours(layouts.read("table2"), material(smoke, runs([300])))


def test_units_are_those_of_the_columns() -> None:
    mixed = grid(paper_table("badgan", runs([90, 110], budget=100), runs([900, 1100], budget=4000, dataset="cifar10")))
    assert ["FM", "93 ± 6.5", "8.11 ± 1.30", "18.63 ± 2.32"] in mixed
    assert ["Bad GAN", "79.5 ± 9.8", "4.25 ± 0.03", "14.41 ± 0.30"] in mixed
    assert ["FM, ours (paper)", "100.0 ± 14.1", DASH, "10.00 ± 1.41"] in mixed
    assert ["FM-GAN", "1677 ± 452", "221 ± 136", "93 ± 6.5", "90 ± 4.2"] in grid(
        paper_table("salimans-table1", runs([1]))
    )


def test_a_number_in_another_unit_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "about: x\nsources: {a: 'Salimans et al., arXiv:1606.03498, Table 1'}\n"
        "columns: [{dataset: mnist, budget: 100, metric: accuracy}, {dataset: mnist, budget: 20, metric: error}]\n"
        "rows: [{name: FM, source: a, method: FM-GAN}, {name: ours, variant: fm}]\n"
    )
    table = papers.paper_table("mine", layouts.read(str(path)), material(runs([1])))
    assert grid(table)[0] == ["FM", "99.07 ± 0.07", "16.77 ± 4.52"]


def test_the_best_of_ours_are_strong_and_published_ones_never() -> None:
    table = paper_table("table2", runs([100, 120, 110]), runs([900, 950, 920], variant="supervised"))
    strong = {row[0].text for row in table.rows if any(entry.strong for entry in row)}
    assert strong == {"FM-GAN, ours (paper)"}
    assert any(note.startswith("Bold: ") for note in table.notes)
    assert "\\textbf{98.90 $\\pm$ 0.10}" in as_latex(table)
    assert "**98.90 ± 0.10**" in as_markdown(table)
    assert "<strong>98.90 ± 0.10</strong>" in as_html(table)


def test_csv_has_every_number_once_in_full_precision() -> None:
    text = papers.paper_csv(layouts.read("table2"), material(runs([300, 500, 100])))
    back = pd.read_csv(io.StringIO(text))
    assert list(back.columns) == papers.COLUMNS
    ours = back[back["kind"] == "ours"].iloc[0]
    assert (ours["mean"], ours["spread"], ours["n"]) == (97.0, pytest.approx(2.0), 3)
    theirs = back[back["kind"] == "published"]
    assert len(theirs) == sum(text != DASH for row in TABLE_2 for text in row[1:])
    assert theirs["n"].isna().sum() == 1  # of Bad GAN's own number nobody says how many runs it is of


@pytest.mark.parametrize("name", layouts.names())
def test_every_layout_loads_and_shows_what_it_names(name: str) -> None:
    layout = layouts.read(name)
    table = papers.paper_table(name, layout, material(runs([1])))
    published = [row for row, line in zip(table.rows, layout.rows, strict=False) if line.variant is None]
    assert published
    assert all(any(entry.text != DASH for entry in row[1:]) for row in published)
    assert any(line.variant for line in layout.rows)


@pytest.mark.parametrize("name", [name for name in suites.names() if suites.load(name).layouts])
def test_every_run_of_a_suite_has_a_place_in_its_layouts(name: str) -> None:
    suite = suites.load(name)
    found = [layouts.read(layout) for layout in suite.layouts]
    rows = {row.variant for layout in found for row in layout.rows}
    columns = {(column.dataset, str(column.budget)) for layout in found for column in layout.columns}
    for part in suite.parts:
        assert set(part["variants"].split(",")) <= rows
        labels = part["labels"].replace("10%", "6000").split(",")  # of MNIST
        assert {(part["dataset"], budget) for budget in labels} <= columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about: x\ncolumns: []\nrows: []\n", "columns"),
        ("about: x\ncolumns: [{dataset: mnist, budget: 20, metric: acc}]\nrows: [{name: a, variant: fm}]\n", "metric"),
        ("about: x\ncolumns: [{dataset: mnist, budget: 20, metric: error}]\nrows: [{name: a}]\n", "source.*variant"),
        ("about: x\nhue: 1\ncolumns: [{dataset: a, budget: 2, metric: error}]\nrows: [{name: a, variant: b}]\n", "hue"),
        (
            "about: x\nsources: {s: nobody}\ncolumns: [{dataset: mnist, budget: 20, metric: error}]\n"
            "rows: [{name: a, source: s, method: m}]\n",
            "nothing is published",
        ),
        ("about: x\ncolumns: [{dataset: mine, budget: all, metric: error}]\nrows: [{name: a, variant: b}]\n", "mine"),
    ],
)
def test_what_is_no_layout_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"--layout .*wrong.yaml.*{message}"):
        layouts.read(str(path))


def test_an_unknown_layout_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown layout 'tabel2'.*'table2'"):
        layouts.read("tabel2")


# --- formats ---------------------------------------------------------------------------------------------------------


def hostile() -> Table:
    rows = tuple((Entry(name), Entry(name, strong=True)) for name in HOSTILE)
    return Table("caption " + HOSTILE[3], ("", HOSTILE[1]), rows, (HOSTILE[5],), frozenset({2}))


def test_names_stay_text_in_html() -> None:
    text = as_html(hostile())
    assert set(re.findall(r"</?(\w+)", text)) == {"table", "caption", "thead", "tr", "th", "tbody", "td", "strong", "p"}
    assert "onerror" not in "".join(re.findall(r"<[^>]*>", text))
    assert "\x1b" not in text


def test_names_command_no_terminal() -> None:
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    console.print(as_lines(hostile()))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in shown
    assert "<img src=x onerror=alert(1)>" in shown


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (texlive-latex-recommended)")
def test_latex_compiles(tmp_path: Path) -> None:
    tables = [hostile(), *(paper_table(name, runs([300, 500])) for name in layouts.names())]
    body = "\n".join(map(as_latex, tables)).replace("\x1b", "")
    document = f"\\documentclass{{article}}\n\\usepackage{{booktabs}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "all.tex").write_text(document)
    words = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
