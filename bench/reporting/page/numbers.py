"""The tables of cells under every policy and metric: computed here once, so that the page's script only shows them."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import pandas as pd

from bench.analysis.cells import METRICS, cells, values_of
from bench.analysis.leaders import leaders
from bench.analysis.policies import POLICIES, errors_of
from bench.reporting.formats import one_line
from bench.reporting.material import Material
from bench.reporting.tables import Cell, budget_tables

SIGNIFICANT = 6  # digits of what is sorted by


def readings(material: Material) -> dict[str, pd.DataFrame]:
    """The runs under each policy that reads any number off them, and under the material's own."""
    frames = {policy: under(material, policy) for policy in POLICIES}
    return {p: frame for p, frame in frames.items() if p == material.policy or frame["errors"].notna().any()}


def under(material: Material, policy: str) -> pd.DataFrame:
    """The rows of the material as another policy reads them."""
    frame = material.frame
    if policy == material.policy:
        return frame
    records = [material.records[run] for run in frame["id"]]
    read = [errors_of(record, policy) if record.status == "done" else None for record in records]
    errors = pd.Series(read, index=frame.index, dtype=float)
    images = frame["test_images"].where(frame["test_images"] > 0)
    return frame.assign(policy=policy, errors=errors, accuracy=100 * (images - errors) / images)


def cell_tables(material: Material, frames: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """One per dataset and protocol: `variants` x `budgets`, and in `views`, by policy and metric, what stands there.

    A view has a `caption`, `notes`, and `cells` `[variants, budgets]` of (text, mean, whether it is among the best);
    the mean is None where there is no number.
    """
    if material.frame.empty:
        return []
    found = [_empty(part) for _, _, part in material.groups()]
    for policy, frame in frames.items():
        best = leaders(
            frame
        )  # the same by every metric: of one dataset each is a multiple of the other, or 100 less it
        for metric in METRICS:
            for table, view in zip(found, _views(frame, metric, policy, best), strict=True):
                table["views"].setdefault(policy, {})[metric] = view
    return found


def _empty(part: Material) -> dict[str, Any]:
    frame = part.frame
    first = frame.iloc[0]
    return {
        "dataset": one_line(first["dataset"]),
        "protocol": one_line(first["protocol"]),
        "variants": [one_line(name) for name in frame["variant"].drop_duplicates()],
        "budgets": sorted(int(budget) for budget in frame["budget"].unique()),
        "views": {},
    }


def _views(frame: pd.DataFrame, metric: str, policy: str, best: Collection[Cell]) -> list[dict[str, Any]]:
    statistics = cells(frame, metric)
    groups = statistics.groupby(["dataset", "protocol"], sort=False)
    made = zip(budget_tables(statistics, metric, policy, best), groups, strict=True)
    return [
        {
            "caption": one_line(table.caption.removeprefix(f"{dataset}, {protocol}: ")),
            "notes": [one_line(note) for note in table.notes],
            "cells": [
                [[entry.text, mean, entry.strong] for entry, mean in zip(row[1:], means, strict=True)]
                for row, means in zip(table.rows, _means(group), strict=True)
            ],
        }
        for table, ((dataset, protocol), group) in made
    ]


def _means(group: pd.DataFrame) -> list[list[float | None]]:
    """`[variants, budgets]` in the order of the tables: variants as they come, budgets ascending."""
    wide = group.pivot(index="variant", columns="budget", values="mean").reindex(group["variant"].drop_duplicates())
    return [[significant(mean) for mean in row] for row in wide.sort_index(axis=1).to_numpy(dtype=float)]


def run_values(frames: dict[str, pd.DataFrame]) -> dict[str, dict[str, list[str | None]]]:
    """By run id and policy, the text of each metric of `METRICS`; None where there is no number."""
    found: dict[str, dict[str, list[str | None]]] = {}
    for policy, frame in frames.items():
        columns = [values_of(frame, metric).astype(float) for metric in METRICS]
        for run, *values in zip(frame["id"], *columns, strict=True):
            texts = [_text(value, metric) for value, metric in zip(values, METRICS, strict=True)]
            found.setdefault(run, {})[policy] = texts
    return found


def _text(value: float, metric: str) -> str | None:
    if math.isnan(value):
        return None
    return f"{value:g}" if metric == "errors" else f"{value:.2f}"


def significant(value: float | None, digits: int = SIGNIFICANT) -> float | None:
    """The number, shorter; None for what JSON has no word for."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")
