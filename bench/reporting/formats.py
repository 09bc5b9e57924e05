"""Tables as text of a format: Markdown, LaTeX (booktabs), HTML, and lines for a terminal.

Names may come from anywhere: whatever a table holds is escaped, and stays text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from bench.errors import printable
from bench.reporting.table import MISSING, Entry, Table

if TYPE_CHECKING:
    from rich.console import Group


# --- Markdown --------------------------------------------------------------------------------------------------------


def as_markdown(table: Table) -> str:
    body = pd.DataFrame([[_strong(entry) for entry in row] for row in table.rows], columns=list(table.head))
    return f"**{markdown_text(table.caption)}**\n\n{_grid(body)}\n\n{markdown_text(' '.join(table.notes))}\n"


def plain_table(body: pd.DataFrame, words: Collection[str] = ()) -> str:
    """Text `[rows, columns]` as a Markdown table, escaped. The first column and `words` are aligned to the left."""
    return _grid(body.map(markdown_text), words)


def markdown_text(text: str) -> str:
    """Text that ends no cell and opens no tag or link."""
    escaped = one_line(text).replace("\\", "\\\\").replace("|", "\\|").replace("](", "]\\(")
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", escaped)


def _strong(entry: Entry) -> str:
    return f"**{markdown_text(entry.text)}**" if entry.strong else markdown_text(entry.text)


def _grid(escaped: pd.DataFrame, words: Collection[str] = ()) -> str:
    sides = ["left" if index == 0 or name in words else "right" for index, name in enumerate(escaped)]
    renamed = escaped.rename(columns=markdown_text)
    return renamed.to_markdown(index=False, disable_numparse=True, colalign=sides)


# --- LaTeX -----------------------------------------------------------------------------------------------------------


def as_latex(table: Table) -> str:
    """A `table` environment that needs the package `booktabs` (and UTF-8 input for names outside ASCII)."""
    lines = [_latex_row([Entry(name) for name in table.head]), "\\midrule"]
    for index, row in enumerate(table.rows):
        lines += ["\\midrule"] * (index in table.rules) + [_latex_row(row)]
    body = "\n".join(lines)
    columns = "l" + "r" * (len(table.head) - 1)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{latex_text(table.caption)}}}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\n"
        f"\\par\\smallskip\n\\parbox{{\\linewidth}}{{\\footnotesize {latex_text(' '.join(table.notes))}}}\n"
        "\\end{table}\n"
    )


def latex_text(text: str) -> str:
    return one_line(text).translate(_LATEX)


def _latex_row(row: Sequence[Entry]) -> str:
    return " & ".join(_latex_entry(entry) for entry in row) + " \\\\"


def _latex_entry(entry: Entry) -> str:
    text = latex_text(entry.text)
    return f"\\textbf{{{text}}}" if entry.strong else text


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
        "\N{DAGGER}": r"\dag{}",
        "\N{DOUBLE DAGGER}": r"\ddag{}",
        MISSING: "--",
        **{special: f"\\{special}" for special in "{}$&#_%"},
    }
)


# --- HTML ------------------------------------------------------------------------------------------------------------


def as_html(table: Table) -> str:
    """A `<table>` without any style, its notes in a paragraph after it."""
    head = "".join(f'<th scope="col">{html_text(name)}</th>' for name in table.head)
    rows = "".join(_html_row(row, index in table.rules) for index, row in enumerate(table.rows))
    return (
        f"<table>\n<caption>{html_text(table.caption)}</caption>\n<thead>\n<tr>{head}</tr>\n</thead>\n"
        f"<tbody>\n{rows}</tbody>\n</table>\n<p>{html_text(' '.join(table.notes))}</p>\n"
    )


def html_text(text: str) -> str:
    return escape(one_line(text))


def _html_row(row: Sequence[Entry], ruled: bool) -> str:
    name, *others = row
    cells = [f"<td>{_html_entry(entry)}</td>" for entry in others]
    rule = ' class="rule"' if ruled else ""
    return f'<tr{rule}><th scope="row">{_html_entry(name)}</th>{"".join(cells)}</tr>\n'


def _html_entry(entry: Entry) -> str:
    return f"<strong>{html_text(entry.text)}</strong>" if entry.strong else html_text(entry.text)


# --- terminals -------------------------------------------------------------------------------------------------------


def as_lines(table: Table) -> Group:
    """Aligned columns in colours, for `rich`; the best entries are bold."""
    from rich.console import Group
    from rich.table import Table as Lines
    from rich.text import Text

    lines = Lines(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for index, name in enumerate(table.head):
        lines.add_column(Text(one_line(name)), justify="left" if index == 0 else "right", style="cyan" * (index == 0))
    for index, row in enumerate(table.rows):
        if index in table.rules:
            lines.add_row()
        lines.add_row(*(Text(one_line(e.text), style="bold green" if e.strong else "") for e in row))
    caption, notes = Text(one_line(table.caption), style="bold"), Text(one_line(" ".join(table.notes)), style="dim")
    return Group(caption, Text(), lines, Text(), notes, Text())


def one_line(text: str) -> str:
    """Text without line breaks and without anything that commands a terminal."""
    return " ".join(printable(text).split())
