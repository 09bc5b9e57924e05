"""The status of every published number, and what each suite repeats."""

from __future__ import annotations

import inspect
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from bench import registry
from bench.analysis.cells import cells
from bench.analysis.published import TEST_IMAGES, TRAIN_IMAGES, Published, beside, load
from bench.analysis.runs import runs_frame
from bench.datasets import parse_budgets
from bench.datasets.sources import names as datasets
from bench.errors import UsageError
from bench.grid import suites
from bench.grid.stale import is_stale, recipe_identity
from bench.store import Store
from generate.markup import code, inline, plain, table

SHAPES = {"mnist": "grey", "svhn": "colour", "cifar10": "colour", "cats-dogs": "colour"}
UNITS = {"accuracy": "% right", "error": "% wrong", "errors": "images wrong"}


def suite_sections() -> str:
    """A section per suite, from its file: what it is, where it comes from, how it differs."""
    return "\n\n".join(map(_suite_section, suites.names()))


def _suite_section(name: str) -> str:
    content, layouts = suites.read(name), suites.load(name).layouts
    texts = {key: inline(str(content.get(key, ""))) for key in suites.TEXTS}
    return (
        f"### {plain(name)}\n\n{texts['about']}\n\n- Source: {texts['source']}\n- Deviations: {texts['deviations']}\n"
        f"- Command: `bench run --suite {name}`; beforehand, in a minute at most: `--protocol smoke`"
        + "".join(f"\n- Table: `bench table --layout {layout}`" for layout in layouts)
    )


def published_tables(results: Path) -> str:
    """A table per source, a row per number of `published.yaml`, with our cell of `results` where there is one."""
    ours = _cells(results)
    parts = []
    for source, entries in groupby(load(), key=lambda entry: entry.source):
        rows = [_row(entry, ours) for entry in entries]
        parts.append(f"### {plain(source)}\n\n" + table(("method", "labels", "published", "how", "ours"), rows))
    return "\n\n".join(parts)


def _cells(results: Path) -> pd.DataFrame:
    records = [record for record in Store(results).records() if not is_stale(record.run)]
    return cells(runs_frame(records, "last", recipe_identity))


def _row(entry: Published, ours: pd.DataFrame) -> tuple[str, ...]:
    method = plain(entry.method) + (f" ({code(entry.variant)})" if entry.variant else "")
    return (
        method,
        f"{plain(entry.dataset)}, {entry.budget}",
        plain(_value(entry)),
        plain(_how(entry)),
        _status(entry, ours),
    )


def _value(entry: Published) -> str:
    spread = "" if entry.spread is None else f" ± {entry.spread:g}"
    return f"{entry.value:g}{spread} {UNITS[entry.unit]}"


def _how(entry: Published) -> str:
    """What the number is: kind of spread, runs, selection, policy, origin, note."""
    found = {
        "± of unknown kind": entry.spread is not None and entry.spread_kind == "unknown",
        f"± {entry.spread_kind}": entry.spread is not None and entry.spread_kind != "unknown",
        "runs not stated" if entry.runs is None else f"n = {entry.runs}": True,
        f"labels: {entry.selection}": entry.selection != "unknown",
        f"policy: {entry.policy}": entry.policy != "unknown",
        "quoted": entry.quoted,
        "own implementation": entry.own_implementation,
        "not verified": entry.unverified,
        entry.note or "": bool(entry.note),
    }
    return "; ".join(text for text, holds in found.items() if holds)


def _status(entry: Published, ours: pd.DataFrame) -> str:
    """Our nearest cell with the verdict; else the command that would make it."""
    if entry.variant is None:
        return "no method here does this"
    command = _command(entry)
    how = f": {code(command)}" if command else ": no recipe of the paper here"
    found = beside(ours, [entry])
    if found.empty:
        return f"not run yet{how}"
    nearest = min(found.to_dict("records"), key=_distance)
    text = (
        f"{_in_unit(entry, nearest)} ({plain(nearest['protocol'])}, n = {nearest['n']}); "
        f"{nearest['difference']:+.2f} points: {nearest['verdict']} ({plain(nearest['why'])})"
    )
    return text if nearest["protocol"] == "paper" else f"{text}. The paper's schedule is not run yet{how}"


def _distance(row: Mapping[Hashable, Any]) -> tuple[bool, bool, int]:
    """How little a cell of ours has to do with the published one."""
    return row["verdict"] == "not comparable", not row["protocol"].startswith("paper"), -row["n"]


def _in_unit(entry: Published, ours: Mapping[Hashable, Any]) -> str:
    """Our mean and standard deviation in the unit of the published number."""
    factor = TEST_IMAGES[entry.dataset] / 100 if entry.unit == "errors" else 1.0
    mean = ours["ours"] if entry.unit == "accuracy" else (100 - ours["ours"]) * factor
    spread = f" ± {ours['std'] * factor:.2f}" if ours["n"] > 1 else ""
    return f"{mean:.2f}{spread} {UNITS[entry.unit]}"


# --- which command would make a number -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Repeated:
    """A suite, as far as it trains by the paper's recipes to their end.

    Attributes:
        marks: the papers and repositories that it repeats.
        grids: dataset, variants and budgets of each part.
    """

    name: str
    marks: frozenset[str]
    grids: tuple[tuple[str, frozenset[str], frozenset[int]], ...]

    def holds(self, entry: Published) -> bool:
        wanted = TRAIN_IMAGES.get(entry.dataset) if entry.budget == "all" else entry.budget
        return any(
            dataset == entry.dataset and entry.variant in variants and wanted in budgets
            for dataset, variants, budgets in self.grids
        )


def _command(entry: Published) -> str | None:
    """The suite that holds the number's cell, that of its own source first; else the grid itself."""
    found = [suite for suite in _suites() if suite.holds(entry)]
    if found:
        suite = min(found, key=lambda suite: _strangeness(suite, entry))
        return f"bench run --suite {suite.name}" + (f" --labels {entry.budget}" if len(suite.grids) == 1 else "")
    if entry.dataset not in datasets() or not _has_recipe(entry):
        return None
    variants = ",".join(dict.fromkeys(["supervised", str(entry.variant)]))
    selection = " --label-selection first" if entry.selection == "first" else ""
    return (
        f"bench run --dataset {entry.dataset} --protocol paper --variants {variants} --labels {entry.budget}{selection}"
    )


def _strangeness(suite: Repeated, entry: Published) -> tuple[bool, bool, bool]:
    """Lower for suites that the entry's note names, that repeat its source, or else the paper of its variant."""
    own = _marks(inspect.getdoc(inspect.getmodule(registry.get(str(entry.variant)))) or "")
    return suite.name not in (entry.note or ""), not suite.marks & _marks(entry.source), not suite.marks & own


def _marks(text: str) -> frozenset[str]:
    """Papers (arXiv) and repositories that a text names."""
    return frozenset(re.findall(r"\d{4}\.\d{4,5}|[\w-]+/[\w-]+", text))


@cache
def _suites() -> tuple[Repeated, ...]:
    return tuple(
        Repeated(name, _marks(str(suites.read(name).get("source"))), tuple(_grids(name))) for name in suites.names()
    )


def _grids(name: str) -> Iterator[tuple[str, frozenset[str], frozenset[int]]]:
    suite = suites.load(name)
    for part in suite.parts:
        if part.get("protocol") == "paper" and "scale" not in part:
            dataset, named = part.get("dataset", "digits"), part["variants"].split(",")
            variants = frozenset(suite.rows[row].variant if row in suite.rows else row for row in named)
            yield dataset, variants, frozenset(parse_budgets(part["labels"], TRAIN_IMAGES.get(dataset, 10_000)))


def _has_recipe(entry: Published) -> bool:
    try:
        registry.get(str(entry.variant)).recipe_for("paper", entry.dataset, SHAPES[entry.dataset])
    except UsageError:
        return False
    return True


def counts() -> str:
    """How many numbers there are, and of how many methods here."""
    return (
        f"{len(load())} numbers, {sum(entry.variant is not None for entry in load())} of them of methods that are here"
    )
