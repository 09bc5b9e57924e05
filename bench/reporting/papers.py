"""Tables in the layout of a paper: published rows and ours, each number in its column's unit.

A row of ours is repeated for each protocol that has runs; smoke runs never appear.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from bench.analysis.cells import METRICS, cells
from bench.analysis.leaders import leaders
from bench.analysis.published import TEST_IMAGES, Published
from bench.reporting.layouts import Column, Layout, Row
from bench.reporting.material import Material
from bench.reporting.table import MISSING, Entry, Table
from bench.reporting.tables import Cell, cell_notes, cell_text, csv_lines, digits_of, strong_note

PLACE = ["dataset", "budget", "metric"]
COLUMNS = [
    *("row", "kind", "source", "protocol", *PLACE),
    *("mean", "spread", "spread_kind", "n", "failed", "marks", "own"),
]
HAND, OWN, UNVERIFIED = "*", "\N{DAGGER}", "\N{DOUBLE DAGGER}"
MARKS = {
    HAND: "labelled images picked by hand",
    OWN: "the source's own implementation of somebody else's method",
    UNVERIFIED: "quoted from memory or second hand, not verified",
}


def filled(layout: Layout, material: Material) -> pd.DataFrame:
    """Every number of the table, one row each, in the columns `COLUMNS` and, of ours, those of their cells.

    `kind` is `published` or `ours`. Where a row has no number for a column there is none. Smoke runs never appear.
    """
    own = {metric: cells(_full(material.frame), metric) for metric in {c.metric for c in layout.columns}}
    numbers = [
        {"order": order, **number}
        for order, row in enumerate(layout.rows)
        for column in layout.columns
        for number in (
            [_theirs(row, column, layout.published(row, column))]
            if row.variant is None
            else _ours(row, column, own[column.metric])
        )
        if number
    ]
    extra = ["order", "variant", "std", "selection", "validation", "left_out"]
    frame = pd.DataFrame(numbers, columns=COLUMNS + extra).astype({"n": "Int64"})
    return frame.sort_values("order", kind="stable", ignore_index=True)


def has_ours(layout: Layout, material: Material) -> bool:
    """Whether any run of the material belongs into the table."""
    return bool((filled(layout, material)["kind"] == "ours").any())


def paper_csv(layout: Layout, material: Material) -> str:
    """One line per number of the table in the columns `COLUMNS`, in full precision; a missing number is empty."""
    return csv_lines(filled(layout, material)[COLUMNS], ["row", "source", "protocol", "dataset"])


def paper_table(name: str, layout: Layout, material: Material) -> Table:
    """The table: rows in the layout's order, ours once per protocol; the best of ours and their equals are strong."""
    numbers = filled(layout, material)
    best, show_n = _leaders(layout, material), _several_n(numbers)
    rows: list[tuple[Entry, ...]] = []
    rules = set()
    for order, row in enumerate(layout.rows):
        if order and bool(row.variant) != bool(layout.rows[order - 1].variant):
            rules.add(len(rows))
        own = numbers[numbers["order"] == order]
        for protocol in [*own["protocol"].drop_duplicates()] or [None]:
            found = own[own["protocol"] == protocol]
            places = {(n["dataset"], n["budget"], n["metric"]): n for n in found.to_dict("records")}
            entries = [_entry(places.get(c.place), c.metric, best[c.metric], show_n) for c in layout.columns]
            rows.append((Entry(_name(row, protocol, found)), *entries))
    strong = any(entry.strong for row in rows for entry in row)
    caption = f"{name}: {' '.join(layout.about.split())}"
    head = ("", *(column.title for column in layout.columns))
    return Table(
        caption, head, tuple(rows), (*_notes(layout, numbers, material), *strong_note(strong)), frozenset(rules)
    )


# --- numbers ---------------------------------------------------------------------------------------------------------


def _leaders(layout: Layout, material: Material) -> dict[str, set[Cell]]:
    """By metric the best cells among the variants that the layout shows."""
    frame = _full(material.frame)
    shown = frame[frame["variant"].isin({row.variant for row in layout.rows})]
    return {metric: leaders(shown, metric) for metric in {column.metric for column in layout.columns}}


def _full(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~frame["protocol"].str.startswith("smoke")]


def _theirs(row: Row, column: Column, entry: Published | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    mean, spread = _in_unit(entry, column)
    marks = {HAND: entry.selection == "hand", UNVERIFIED: entry.unverified}
    return {
        **{"row": row.name, "kind": "published", "source": entry.source, "protocol": ""},
        **dict(zip(PLACE, column.place, strict=True)),
        **{"mean": mean, "spread": spread, "spread_kind": entry.spread_kind, "n": entry.runs, "failed": 0},
        **{"marks": "".join(mark for mark, holds in marks.items() if holds), "own": entry.own_implementation},
    }


def _in_unit(entry: Published, column: Column) -> tuple[float, float]:
    """Mean and spread in the column's unit; to the bit as published where that is the same."""
    if entry.unit == column.metric:
        return entry.value, math.nan if entry.spread is None else entry.spread
    points = TEST_IMAGES[column.dataset] / 100 if column.metric == "errors" else 1.0
    mean = entry.accuracy if column.metric == "accuracy" else (100 - entry.accuracy) * points
    return mean, math.nan if entry.spread_points is None else entry.spread_points * points


def _ours(row: Row, column: Column, own: pd.DataFrame) -> Iterator[dict[str, Any]]:
    wanted = (own["variant"] == row.variant) & (own["dataset"] == column.dataset) & (own["budget"] == column.labels)
    for cell in own[wanted].to_dict("records"):
        yield {
            **{str(name): value for name, value in cell.items()},
            **{"row": row.name, "kind": "ours", "source": "", **dict(zip(PLACE, column.place, strict=True))},
            **{"spread": cell["std"], "spread_kind": "std", "marks": "", "own": False},
        }


# --- text ------------------------------------------------------------------------------------------------------------


def _several_n(numbers: pd.DataFrame) -> bool:
    """Whether cells of ours differ in how many runs they hold."""
    return numbers.loc[(numbers["kind"] == "ours") & (numbers["n"] > 0), "n"].nunique() > 1


def _name(row: Row, protocol: str | None, numbers: pd.DataFrame) -> str:
    """The row's name; a method that the source's authors ran for somebody else carries the mark on it."""
    if row.variant:
        return f"{row.name}, ours" + (f" ({protocol})" if protocol else "")
    return f"{row.name} {OWN}" if numbers["own"].all() else row.name


def _entry(number: Mapping[Hashable, Any] | None, metric: str, best: set[Cell], show_n: bool) -> Entry:
    if number is None:
        return Entry(MISSING)
    if number["kind"] == "ours":
        strong = (number["dataset"], number["protocol"], number["variant"], number["budget"]) in best
        return Entry(cell_text(number, digits_of(metric), show_n), strong)
    form = "g" if metric == "errors" else ".2f"
    spread = "" if math.isnan(number["spread"]) else f" ± {number['spread']:{form}}"
    return Entry(f"{number['mean']:{form}}{spread} {number['marks']}".rstrip())


def _notes(layout: Layout, numbers: pd.DataFrame, material: Material) -> tuple[str, ...]:
    units = list(dict.fromkeys(METRICS[column.metric] for column in layout.columns))
    notes = [f"{unit[0].upper()}{unit[1:]}." for unit in units] if len(units) == 1 else [_mixed(layout)]
    theirs, ours = numbers[numbers["kind"] == "published"], numbers[numbers["kind"] == "ours"]
    shown = {mark: theirs["marks"].str.contains(mark, regex=False).any() for mark in MARKS} | {OWN: theirs["own"].any()}
    notes += [f"{mark} {text}." for mark, text in MARKS.items() if shown[mark]]
    notes += [_source(str(source), rows) for source, rows in theirs.groupby("source", sort=False)]
    notes += ["Ours: " + " ".join(cell_notes(ours, material.policy))] if len(ours) else ["No run of ours is here yet."]
    if material.frame["protocol"].str.startswith("smoke").any():
        notes.append("Smoke runs are left out: they never stand beside published numbers.")
    return tuple(notes + ([" ".join(layout.note.split())] if layout.note else []))


def _mixed(layout: Layout) -> str:
    return "Units: " + "; ".join(f"{column.title}: {METRICS[column.metric]}" for column in layout.columns) + "."


def _source(source: str, rows: pd.DataFrame) -> str:
    """What the ± of published rows is."""
    kinds = {"std": "standard deviation", "se": "standard error", "unknown": "a spread of unknown kind"}
    spread = rows[rows["spread"].notna()]
    counts = ["an unknown number of runs" if pd.isna(n) else f"{int(n)} runs" for n in spread["n"].tolist()]
    found = [
        f"{kinds[kind]} over {count}"
        for kind, count in dict.fromkeys(zip(spread["spread_kind"].astype(str), counts, strict=True))
    ]
    return f"{source}: ± is {', or '.join(found)}." if found else f"{source}: no spread is given."
