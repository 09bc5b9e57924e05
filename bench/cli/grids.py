"""From what was typed, and a suite, to grids of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.datasets import Dataset, parse_budgets
from bench.execution import DataSource
from bench.grid import Options, Run, check, plan, suites
from bench.grid.plan import index_file_of

SUITE_SMOKE_STEPS = 4  # of the protocol's 20: a suite has many grids, each method at most three phases


@dataclass(frozen=True)
class Grid:
    """One grid: its options, and where its data come from."""

    options: Options
    source: DataSource
    ends_only: bool  # of the budgets: the smallest and the largest
    fit: bool  # whether the scale is still to be found: the longest schedule that fits into a call

    def load(self, dataset: Dataset) -> tuple[DataSource, Dataset, list[Run]]:
        """The source as workers need it, the dataset and the runs."""
        options = self.options
        if self.ends_only:
            budgets = parse_budgets(options.labels, dataset.n_train)
            options = replace(options, labels=",".join(map(str, sorted({min(budgets), max(budgets)}))))
        runs = {run.id: run for run in plan(options, dataset)}  # smoke runs of rows that differ in length are the same
        return replace(self.source, index_file=index_file_of(options)), dataset, list(runs.values())


def loaded(asked: Sequence[Grid]) -> list[tuple[DataSource, Dataset, list[Run]]]:
    """All of them, before anything is trained: a mistake in the last one trains none. Data are loaded once."""
    datasets: dict[DataSource, Dataset] = {}
    for grid in asked:
        if grid.source not in datasets:
            datasets[grid.source] = grid.source.load()
    return [grid.load(datasets[grid.source]) for grid in asked]


def grids(suite: suites.Suite | None, typed: Mapping[str, Any], recipe: Path | None, data: Path) -> list[Grid]:
    """The grids of a suite with what was typed in place of its own options; or the one grid that was typed.

    Raises:
        UsageError: what can be refused before any data are there.
    """
    whole = suite or suites.Suite(({},), {})
    found = []
    for part in whole.parts:
        chosen = {**_without_schedule(part, typed), **typed}
        smoke = suite is not None and chosen.get("protocol") == "smoke"
        if smoke:
            chosen["seeds"] = typed.get("seeds", "1")
            chosen |= {} if chosen.keys() & {"steps", "scale"} else {"steps": SUITE_SMOKE_STEPS}
        source = DataSource(chosen.pop("dataset", "digits"), data, chosen.pop("image_size", None))
        if fit := chosen.get("scale") == suites.FIT:
            del chosen["scale"]
        options = Options(settings=chosen.pop("set", []), recipe=recipe, rows=whole.rows, **chosen)
        check(options)
        found.append(Grid(options, source, smoke and "labels" not in typed, fit))
    return found


def _without_schedule(part: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's options, without its steps and scale where one was typed, or where smoke runs need none."""
    if "steps" in typed or "scale" in typed or typed.get("protocol") == "smoke":
        return {key: value for key, value in part.items() if key not in ("steps", "scale")}
    return dict(part)
