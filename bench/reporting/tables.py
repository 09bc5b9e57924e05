"""Tables of cells as text: CSV for programs, Markdown and LaTeX (booktabs) in the layout of papers.

Markdown and LaTeX show one table per dataset and protocol, a row per variant and a column per budget. Above it stands
what the numbers are, below it how they were read off the runs and how many runs there are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pandas as pd

from bench.analysis.cells import COLUMNS, METRICS
from bench.analysis.policies import DESCRIPTIONS
from bench.errors import UsageError, printable, unknown

FORMATS = ("markdown", "latex", "csv")
MISSING = "\N{EN DASH}"


def render(cells: pd.DataFrame, format: str, metric: str = "accuracy", policy: str = "last") -> str:
    """The cells as `markdown`, `latex` or `csv`.

    Raises:
        UsageError: no such format, metric or policy; or there are no cells.
    """
    _check(metric, policy)
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    if cells.empty:
        raise UsageError("there are no runs to make a table of. Make some with `bench run`.")
    if format == "csv":
        return csv_table(cells)
    return (markdown_table if format == "markdown" else latex_table)(cells, metric, policy)


def csv_table(cells: pd.DataFrame) -> str:
    """One line per cell in the columns `bench.analysis.cells.COLUMNS`, in full precision; a missing number is empty.

    A name that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    names = cells[["dataset", "protocol", "variant"]].map(lambda name: re.sub(r"^(?=[=+@\t\r-])", "'", name))
    return cells[COLUMNS].assign(**names).to_csv(index=False, lineterminator="\n")


def markdown_table(cells: pd.DataFrame, metric: str = "accuracy", policy: str = "last") -> str:
    return "\n".join(_markdown(table) for table in _tables(cells, metric, policy))


def latex_table(cells: pd.DataFrame, metric: str = "accuracy", policy: str = "last") -> str:
    """`table` environments that need the package `booktabs` (and UTF-8 input for names outside ASCII)."""
    return "\n".join(_latex(table) for table in _tables(cells, metric, policy))


def supervised_hint(cells: pd.DataFrame) -> str | None:
    """What to say where tables lack the `supervised` baseline; None where all have it."""
    groups = cells.groupby(["dataset", "protocol"], sort=False)["base_variant"]
    lacking = [f"{dataset}, {protocol}" for (dataset, protocol), names in groups if "supervised" not in set(names)]
    if not lacking:
        return None
    return (
        f"Hint: no `supervised` baseline in the table of {'; '.join(lacking)}. Add `supervised` to --variants to see "
        "what the unlabelled images contribute."
    )


@dataclass(frozen=True)
class _Table:
    """One table in plain words, not yet escaped for any format."""

    caption: str
    body: pd.DataFrame  # text [variants, 1 + budgets]
    notes: str


def _tables(cells: pd.DataFrame, metric: str, policy: str) -> Iterator[_Table]:
    _check(metric, policy)
    for (dataset, protocol), group in cells.groupby(["dataset", "protocol"], sort=False):
        caption = f"{dataset}, {protocol}: {METRICS[metric]} by number of labels, policy {policy}"
        yield _Table(caption, _body(group, 1 if metric == "errors" else 2), _notes(group, str(protocol), policy))


def _check(metric: str, policy: str) -> None:
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if policy not in DESCRIPTIONS:
        raise unknown("policy", policy, DESCRIPTIONS)


def _body(group: pd.DataFrame, digits: int) -> pd.DataFrame:
    """A row per variant, in the order of the cells, and a column per budget, ascending."""
    show_n = group.loc[group["n"] > 0, "n"].nunique() > 1
    text = group.apply(_cell, axis=1, digits=digits, show_n=show_n)
    wide = group.assign(text=text).pivot(index="variant", columns="budget", values="text").fillna(MISSING)
    wide = wide.loc[group["variant"].drop_duplicates(), sorted(wide.columns)]
    return wide.rename(columns=str).rename_axis(columns=None).reset_index()


def _cell(cell: pd.Series, digits: int, show_n: bool) -> str:
    """`mean ± std`, what there is of it, followed by whatever number of runs is not the table's common one."""
    text = MISSING if cell["n"] == 0 else f"{cell['mean']:.{digits}f}"
    if cell["n"] > 1:
        text += f" ± {cell['std']:.{digits}f}"
    if cell["n"] and show_n:
        text += f" (n={cell['n']})"
    if cell["n"] and _picked(cell["selection"]):
        text += " *"
    return text + (f" ({cell['failed']} failed)" if cell["failed"] else "")


def _picked(selection: str) -> bool:
    """Whether somebody chose the labelled images: by hand (an index file), or `prototypes` in their stead."""
    return selection == "prototypes" or selection.startswith("file:")


def _notes(group: pd.DataFrame, protocol: str, policy: str) -> str:
    """How the numbers of one table came about, in full sentences."""
    counts = group.loc[group["n"] > 0, "n"]
    low, high = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
    notes = [policy_note(policy, int(group["validation"].max()))]
    if low == high:
        notes.append(f"n = {low} {'run' if low == 1 else 'runs'} per cell.")
    else:
        notes.append(f"n = {low} to {high} runs per cell, as shown.")
    if high > 1:
        notes.append("± is the sample standard deviation over seeds (ddof 1).")
    if low == 1:
        notes.append("One run shows no spread.")
    if group["failed"].any():
        notes.append("Runs that failed or diverged are counted, not averaged.")
    if group["selection"].map(_picked).any():
        notes.append("* The labelled images were picked, not drawn: the same for every seed.")
    if left_out := int(group["left_out"].sum()):
        notes.append(f"Left out: {left_out} without validation errors to go by.")
    if protocol.startswith("smoke"):
        notes.append("Smoke runs prove only that the code runs; their numbers mean nothing.")
    return " ".join(notes)


def policy_note(policy: str, validation: int) -> str:
    note = f"Policy {policy}: {DESCRIPTIONS[policy]}"
    if validation and policy == "best-validation":
        return f"{note}; uses {validation} extra validation labels."
    return f"{note}; {validation} labels held out for validation are not used." if validation else f"{note}."


# --- the two layouts -------------------------------------------------------------------------------------------------


def plain_table(body: pd.DataFrame, words: Collection[str] = ()) -> str:
    """Text `[rows, columns]` as a Markdown table, escaped. The first column and `words` are aligned to the left."""
    escaped = body.map(markdown_text).rename(columns=markdown_text)
    sides = ["left" if index == 0 or name in words else "right" for index, name in enumerate(body)]
    return escaped.to_markdown(index=False, disable_numparse=True, colalign=sides)


def _markdown(table: _Table) -> str:
    return f"**{markdown_text(table.caption)}**\n\n{plain_table(table.body)}\n\n{markdown_text(table.notes)}\n"


def _latex(table: _Table) -> str:
    body = table.body.map(_latex_text).rename(columns=_latex_text)
    columns = "l" + "r" * (body.shape[1] - 1)
    grid = body.style.hide(axis="index").to_latex(hrules=True, column_format=columns)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{_latex_text(table.caption)}}}\n{grid}\n"
        f"\\par\\smallskip\n\\parbox{{\\linewidth}}{{\\footnotesize {_latex_text(table.notes)}}}\n\\end{{table}}\n"
    )


def markdown_text(text: str) -> str:
    """Text that ends no cell and opens no tag or link: names may come from anywhere."""
    escaped = _one_line(printable(text)).replace("\\", "\\\\").replace("|", "\\|").replace("](", "]\\(")
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", escaped)


def _latex_text(text: str) -> str:
    return _one_line(printable(text)).translate(_LATEX)


def _one_line(text: str) -> str:
    return " ".join(text.split())


# Brackets, too: after `\\` LaTeX takes one at the beginning of a row for an optional length.
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",
        "]": "{]}",
        "±": r"$\pm$",
        MISSING: "--",
        **{special: f"\\{special}" for special in "{}$&#_%"},
    }
)
