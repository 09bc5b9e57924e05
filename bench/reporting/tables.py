"""Tables of cells, one per dataset and protocol: a row per variant, a column per budget; and their numbers as CSV.

Above a table stands what the numbers are, below it how they were read off the runs and how many runs there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.analysis.cells import COLUMNS, METRICS
from bench.analysis.policies import DESCRIPTIONS
from bench.errors import UsageError, unknown
from bench.reporting.formats import as_html, as_latex, as_markdown
from bench.reporting.table import MISSING, Entry, Table

FORMATS: Mapping[str, Callable[[Table], str]] = {"markdown": as_markdown, "latex": as_latex, "html": as_html}

Cell = tuple[str, str, str, int]  # dataset, protocol, variant, budget


def render(
    cells: pd.DataFrame,
    format: str,
    metric: str = "accuracy",
    policy: str = "last",
    leaders: Collection[Cell] = (),
) -> str:
    """The tables of the cells in one of `FORMATS`; `leaders` (`bench.analysis.leaders`) stand out.

    Raises:
        UsageError: no such format, metric or policy; or there are no cells.
    """
    return written(budget_tables(cells, metric, policy, leaders), format)


def written(tables: Sequence[Table], format: str) -> str:
    """
    Raises:
        UsageError: no such format.
    """
    if format not in FORMATS:
        raise unknown("format", format, (*FORMATS, "csv"))
    return "\n".join(FORMATS[format](table) for table in tables)


def csv_table(cells: pd.DataFrame) -> str:
    """One line per cell in the columns `bench.analysis.cells.COLUMNS`, in full precision; a missing number is empty."""
    return csv_lines(cells[COLUMNS], ["dataset", "protocol", "variant"])


def csv_lines(frame: pd.DataFrame, names: list[str]) -> str:
    """CSV; in the columns `names`, what a spreadsheet would take for a formula gets an apostrophe before it."""
    safe = frame[names].map(lambda name: re.sub(r"^(?=[=+@\t\r-])", "'", name))
    return frame.assign(**safe).to_csv(index=False, lineterminator="\n")


def budget_tables(
    cells: pd.DataFrame, metric: str = "accuracy", policy: str = "last", leaders: Collection[Cell] = ()
) -> list[Table]:
    """A table per dataset and protocol, in the order of the cells.

    Raises:
        UsageError: no such metric or policy; or there are no cells.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if policy not in DESCRIPTIONS:
        raise unknown("policy", policy, DESCRIPTIONS)
    if cells.empty:
        raise UsageError("there are no runs to make a table of. Make some with `bench run`.")
    return list(_tables(cells, metric, policy, leaders))


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


def _tables(cells: pd.DataFrame, metric: str, policy: str, leaders: Collection[Cell]) -> Iterator[Table]:
    for (dataset, protocol), group in cells.groupby(["dataset", "protocol"], sort=False):
        caption = f"{dataset}, {protocol}: {METRICS[metric]} by number of labels, policy {policy}"
        body = _body(group, digits_of(metric), leaders)
        notes = cell_notes(group, policy) + strong_note(any(entry.strong for row in body.values for entry in row))
        rows = tuple((Entry(str(name)), *entries) for name, *entries in body.itertuples())
        yield Table(caption, ("variant", *map(str, body.columns)), rows, notes)


def digits_of(metric: str) -> int:
    """Decimals of a mean."""
    return 1 if metric == "errors" else 2


def _body(group: pd.DataFrame, digits: int, leaders: Collection[Cell]) -> pd.DataFrame:
    """Entries `[variants, budgets]`: variants in the order of the cells, budgets ascending."""
    show_n = group.loc[group["n"] > 0, "n"].nunique() > 1
    entries = [
        Entry(
            cell_text(cell, digits, show_n),
            (cell["dataset"], cell["protocol"], cell["variant"], cell["budget"]) in leaders,
        )
        for _, cell in group.iterrows()
    ]
    placed = pd.Series(entries, index=pd.MultiIndex.from_frame(group[["variant", "budget"]]), dtype=object)
    wide = placed.unstack().map(lambda entry: entry if isinstance(entry, Entry) else Entry(MISSING))
    return wide.loc[group["variant"].drop_duplicates(), sorted(wide.columns)]


def cell_text(cell: Mapping[Hashable, Any] | pd.Series, digits: int, show_n: bool) -> str:
    """`mean ± std`, what there is of it, followed by whatever number of runs is not the table's common one."""
    text = MISSING if cell["n"] == 0 else f"{cell['mean']:.{digits}f}"
    if cell["n"] > 1:
        text += f" ± {cell['std']:.{digits}f}"
    if cell["n"] and show_n:
        text += f" (n={cell['n']})"
    if cell["n"] and picked(cell["selection"]):
        text += " *"
    return text + (f" ({cell['failed']} failed)" if cell["failed"] else "")


def picked(selection: str) -> bool:
    """Whether somebody chose the labelled images: by hand (an index file), or `prototypes` in their stead."""
    return selection == "prototypes" or selection.startswith("file:")


def cell_notes(group: pd.DataFrame, policy: str) -> tuple[str, ...]:
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
    if group["selection"].map(picked).any():
        notes.append("* The labelled images were picked, not drawn: the same for every seed.")
    if left_out := int(group["left_out"].sum()):
        notes.append(f"Left out: {left_out} without validation errors to go by.")
    if group["protocol"].str.startswith("smoke").any():
        notes.append("Smoke runs prove only that the code runs; their numbers mean nothing.")
    return tuple(notes)


def policy_note(policy: str, validation: int) -> str:
    note = f"Policy {policy}: {DESCRIPTIONS[policy]}"
    if validation and policy == "best-validation":
        return f"{note}; uses {validation} extra validation labels."
    return f"{note}; {validation} labels held out for validation are not used." if validation else f"{note}."


def strong_note(any_strong: bool) -> tuple[str, ...]:
    """What bold print means, where there is some."""
    return (STRONG,) if any_strong else ()


STRONG = (
    "Bold: the best mean of a column, and those that no other is better than by a paired t test (5 %, Holm-corrected "
    "over the column's pairs); with few seeds those are many."
)
