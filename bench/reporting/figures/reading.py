"""What figures read off their material: names, budgets, and the records of a cell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pandas as pd

from bench.analysis.cells import values_of
from bench.reporting.material import Material
from bench.store import Curve, Record


def variants_of(frame: pd.DataFrame) -> list[str]:
    """In the order of the frame."""
    return [str(name) for name in frame["variant"].drop_duplicates()]


def budgets_of(frame: pd.DataFrame) -> list[int]:
    """The least first."""
    return sorted(int(budget) for budget in frame["budget"].unique())


def by_cell(frame: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """The rows of each variant and budget, in the order of the frame."""
    for cell, rows in frame.groupby(["variant", "budget"], sort=False):
        variant, budget = cast(tuple[str, int], cell)
        yield str(variant), int(budget), rows


def cell_records(group: Material) -> dict[tuple[str, int], list[Record]]:
    """The records of each variant and budget, in the order of the group."""
    return {(variant, budget): [group.records[i] for i in own["id"]] for variant, budget, own in by_cell(group.frame)}


def measured(group: Material) -> pd.DataFrame:
    """The runs that have a value of the material's metric, with it in the column `value`."""
    frame = group.frame.assign(value=values_of(group.frame, group.metric).astype(float))
    return frame.dropna(subset="value")


def curve_of(record: Record) -> Curve | None:
    """The run's curve, if anything was measured."""
    return record.curve if record.curve is not None and record.curve.steps and record.test_images else None


def seconds_per_run(record: Record) -> list[float]:
    """Seconds of training up to each evaluation: those of the run's cohort, shared out evenly among its runs."""
    cohort = record.provenance.get("cohort")
    runs = len(cohort) if isinstance(cohort, list) and cohort else 1
    return [seconds / runs for seconds in record.curve.seconds] if record.curve is not None else []
