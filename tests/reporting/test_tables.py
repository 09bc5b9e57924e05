"""Tables are parsed back: every number, every name, however odd, and every note that a reader must see."""

from __future__ import annotations

import html
import io
import math
import re
from typing import Any

import pandas as pd
import pytest

from bench.errors import UsageError
from bench.reporting.tables import csv_table, render, supervised_hint

COLUMNS = [
    *("dataset", "protocol", "variant", "budget", "policy", "n", "failed"),
    *("mean", "std", "ci_low", "ci_high", "median", "min"),
]
DASH = "\N{EN DASH}"
HOSTILE = [
    *("bad_gan", "50%", "fm[lr=0.3]", "[odd]", "a|b", "a\\|b", "a\\", "{", "}}", "$x^2$", "#~&", "<b>", 'a, "b"\''),
    *("two\nlines", "\\end{table}", "1e5", "007", "nan", "None"),
]


def cell(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        **{"dataset": "digits", "protocol": "common", "variant": "fm", "budget": 20, "policy": "last"},
        **{"n": 10, "failed": 0, "mean": 100 * 2 / 3, "std": 1.236, "ci_low": 65.0, "ci_high": 68.0},
        **{"median": 66.0, "min": 1 / 3, "validation": 0, "left_out": 0, "selection": "balanced"},
    }
    made = fields | changes
    return {"base_variant": made["variant"], **made}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows or [cell()])


def markdown_table(cells: pd.DataFrame, metric: str = "accuracy", policy: str = "last") -> str:
    return render(cells, "markdown", metric, policy)


def latex_table(cells: pd.DataFrame, metric: str = "accuracy", policy: str = "last") -> str:
    return render(cells, "latex", metric, policy)


def grid(markdown: str) -> list[list[str]]:
    """The rows of a Markdown table, split where GitHub splits them, without the rule below the head."""
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    cut = [re.findall(r"(?:\\.|[^|\\])+", row.strip("|")) for row in rows]
    return [
        [html.unescape(re.sub(r"\\(.)", r"\1", text.strip())) for text in row] for i, row in enumerate(cut) if i != 1
    ]


def latex_grid(latex: str) -> list[list[str]]:
    body = latex.split("\\toprule")[1].split("\\bottomrule")[0].replace("\\midrule\n", "")
    return [[text.strip() for text in re.split(r"(?<!\\)&", row)] for row in body.split("\\\\\n") if row.strip()]


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_csv_holds_every_bit_in_the_agreed_columns() -> None:
    missing = {"n": 1, "std": math.nan, "ci_low": math.nan, "ci_high": math.nan}
    rows = [cell(), cell(variant="bad", failed=2, **missing), *(cell(variant=name) for name in HOSTILE)]
    text = csv_table(frame(*rows))
    assert text.splitlines()[0].split(",") == COLUMNS
    back = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    assert list(back["variant"]) == ["fm", "bad", *HOSTILE]
    assert [float(back[name].iloc[0]) for name in ("mean", "std", "min")] == [100 * 2 / 3, 1.236, 1 / 3]
    assert list(back.loc[1, ["n", "failed", "std", "ci_low", "ci_high"]]) == ["1", "2", "", "", ""]


# --- Markdown --------------------------------------------------------------------------------------------------------


def test_markdown_has_a_row_per_variant_and_a_column_per_budget() -> None:
    rows = [cell(variant="supervised", budget=b, mean=b, std=b / 8) for b in (100, 20)]
    text = markdown_table(frame(*rows, cell(failed=3)))
    assert grid(text) == [
        ["variant", "20", "100"],
        ["supervised", "20.00 ± 2.50", "100.00 ± 12.50"],
        ["fm", "66.67 ± 1.24 (3 failed)", DASH],
    ]
    assert "digits, common: accuracy" in text.splitlines()[0]


def test_counts_have_one_digit() -> None:
    assert grid(markdown_table(frame(), "errors"))[1] == ["fm", "66.7 ± 1.2"]
    assert grid(markdown_table(frame(), "error"))[1] == ["fm", "66.67 ± 1.24"]


def test_one_run_shows_no_spread_and_none_shows_a_dash() -> None:
    rows = [cell(n=1, std=math.nan), cell(budget=50, n=0, mean=math.nan, std=math.nan, failed=4)]
    text = markdown_table(frame(*rows))
    assert grid(text)[1] == ["fm", "66.67", f"{DASH} (4 failed)"]
    assert "n = 1 run per cell" in text
    assert "±" not in text


def test_numbers_of_runs_are_visible() -> None:
    same = markdown_table(frame(cell(), cell(budget=50)))
    assert "n = 10 runs per cell." in same
    assert "(n=" not in same
    different = markdown_table(frame(cell(), cell(budget=50, n=9, failed=1)))
    assert grid(different)[1] == ["fm", "66.67 ± 1.24 (n=10)", "66.67 ± 1.24 (n=9) (1 failed)"]
    assert "n = 9 to 10 runs per cell" in different


def test_one_table_per_dataset_and_protocol() -> None:
    text = markdown_table(frame(cell(), cell(protocol="paper", mean=1), cell(dataset="mnist", mean=2)))
    assert [row[1] for row in grid(text) if row[0] == "fm"] == ["66.67 ± 1.24", "1.00 ± 1.24", "2.00 ± 1.24"]
    captions = [line for line in text.splitlines() if line.startswith("**")]
    assert [caption.strip("*").split(":")[0] for caption in captions] == [
        "digits, common",
        "digits, paper",
        "mnist, common",
    ]


def test_hostile_names_survive_markdown() -> None:
    rows = [cell(variant=name, mean=i) for i, name in enumerate(HOSTILE)]
    back = grid(markdown_table(frame(*rows)))[1:]
    assert [row[0] for row in back] == [name.replace("\n", " ") for name in HOSTILE]
    assert [row[1] for row in back] == [f"{i}.00 ± 1.24" for i in range(len(HOSTILE))]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "</td>", "<!-- x", "<?php", "[go](javascript:x)", "![x](http://e.vil)"]
)
def test_names_open_no_tag_and_no_link_in_markdown(name: str) -> None:
    text = markdown_table(frame(cell(variant=name, dataset=name)))
    assert not re.search(r"<[A-Za-z/!?]", text)
    assert "](" not in text


def test_names_command_no_terminal() -> None:
    hostile = cell(variant="red\x1b[31m", dataset="\x9b2J")
    for text in (markdown_table(frame(hostile)), latex_table(frame(hostile))):
        assert text.replace("\n", "").isprintable()


def test_names_are_no_formulas_in_a_spreadsheet() -> None:
    names = ["=HYPERLINK(1)", "+1", "-1", "@x"]
    rows = csv_table(frame(*(cell(variant=name) for name in names))).splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == [f"'{name}" for name in names]


# --- LaTeX -----------------------------------------------------------------------------------------------------------


def test_latex_has_the_same_layout() -> None:
    text = latex_table(frame(cell(variant="bad_gan"), cell(budget=50, failed=1)))
    assert latex_grid(text) == [
        ["variant", "20", "50"],
        [r"bad\_gan", r"66.67 $\pm$ 1.24", "--"],
        ["fm", "--", r"66.67 $\pm$ 1.24 (1 failed)"],
    ]
    assert r"accuracy (\% of the test images)" in text.split("\\begin{tabular}")[0]


def test_hostile_names_are_escaped_and_everything_is_balanced() -> None:
    rows = [cell(variant=name, dataset=data) for data in HOSTILE for name in HOSTILE]
    text = latex_table(frame(*rows))
    for environment in ("table", "tabular"):
        assert text.count(f"\\begin{{{environment}}}") == text.count(f"\\end{{{environment}}}") == len(HOSTILE)
    bare = re.sub(r"\\[\\{}$&#_%]", "", text)
    assert bare.count("{") == bare.count("}")
    assert not set("#_%^~<>|") & set(bare)
    assert bare.replace(r"$\pm$", "").count("$") == 0
    assert not re.search(r"\\\\\s*\[", text)  # a row's end takes a bracket after it for an optional length
    assert all(len(row) == 2 for table in text.split("\\end{table}")[:-1] for row in latex_grid(table))


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        *(("50%", r"50\%"), ("fm[lr=0.3]", "fm{[}lr=0.3{]}"), ("a\\b", r"a\textbackslash{}b"), ("{", r"\{")),
        *(("a^b~c", r"a\textasciicircum{}b\textasciitilde{}c"), ("$#&", r"\$\#\&"), ("<|>", None)),
    ],
)
def test_latex_escapes(name: str, escaped: str | None) -> None:
    shown = latex_grid(latex_table(frame(cell(variant=name))))[1][0]
    assert shown == (escaped or r"\textless{}\textbar{}\textgreater{}")


# --- notes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [markdown_table, latex_table])
@pytest.mark.parametrize(
    ("policy", "change", "words"),
    [
        ("last", {}, "last evaluation"),
        ("last", {}, "sample standard deviation over seeds (ddof 1)"),
        ("mean-last-10", {}, "last 10 evaluations"),
        ("oracle", {}, "peeks at the test set"),
        ("best-validation", {"validation": 70}, "uses 70 extra validation labels"),
        ("last", {"validation": 70}, "70 labels held out for validation are not used"),
        ("best-validation", {"left_out": 3}, "Left out: 3 without validation"),
        ("last", {"failed": 1}, "not averaged"),
        ("last", {"protocol": "smoke"}, "prove only that the code runs"),
    ],
)
def test_notes_say_what_the_numbers_are(write: Any, policy: str, change: dict[str, Any], words: str) -> None:
    assert words in write(frame(cell(policy=policy, **change)), "accuracy", policy)


def test_notes_say_nothing_that_is_not_so() -> None:
    text = markdown_table(frame())
    for words in ("peeks", "validation", "Left out", "averaged", "code runs"):
        assert words not in text


def test_a_missing_baseline_is_hinted_at() -> None:
    supervised = cell(variant="supervised")
    assert supervised_hint(frame(cell(), supervised)) is None
    assert supervised_hint(frame(cell(), cell(variant="supervised[lr=1]", base_variant="supervised"))) is None
    hint = supervised_hint(frame(cell(), supervised, cell(dataset="mnist")))
    assert hint is not None
    assert "supervised" in hint
    assert "mnist, common" in hint
    assert "digits" not in hint


# --- render ----------------------------------------------------------------------------------------------------------


def test_render_writes_each_format() -> None:
    cells = frame()
    assert render(cells, "markdown", "errors", "last").startswith("**digits, common: errors")
    assert render(cells, "latex", "error", "last").startswith("\\begin{table}")
    assert render(cells, "html").startswith("<table>")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "pdf"}, "unknown format 'pdf'"),
        ({"metric": "acuracy"}, "unknown metric 'acuracy'.*'accuracy'"),
        ({"policy": "first"}, "unknown policy 'first'"),
        ({"cells": frame().head(0)}, "no runs"),
    ],
)
def test_render_refuses(wrong: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"cells": frame(), "format": "latex", "metric": "accuracy", "policy": "last"}
    with pytest.raises(UsageError, match=message):
        render(**arguments | wrong)


@pytest.mark.parametrize(("selection", "marked"), [("prototypes", True), ("file:0123abcd", True), ("random", False)])
def test_cells_with_picked_labels_are_marked(selection: str, marked: bool) -> None:
    text = markdown_table(frame(cell(selection=selection)))
    assert (" *" in text.split("Policy")[0].replace("**", "")) == marked
    assert ("labelled images were picked" in text) == marked
