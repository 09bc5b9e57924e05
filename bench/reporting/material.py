"""What tables, figures and pages are made from: the chosen runs of a results folder, read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from bench.analysis.cells import cells
from bench.analysis.runs import runs_frame
from bench.grid.stale import recipe_identity
from bench.store import Record, Store


@dataclass(frozen=True)
class Material:
    """Runs, and the numbers that a policy reads off them.

    Attributes:
        records: by run id, those that failed or diverged included.
        frame: the same runs in long form, from `bench.analysis.runs.runs_frame`: labels, seeds, accuracies in percent.
    """

    store: Store
    records: dict[str, Record]
    frame: pd.DataFrame
    policy: str = "last"
    metric: str = "accuracy"

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per cell, from `bench.analysis.cells.cells`."""
        return cells(self.frame, self.metric)

    def groups(self) -> Iterator[tuple[str, str, Material]]:
        """Each dataset and protocol with its part of the runs, in the order of the frame."""
        for (dataset, protocol), part in self.frame.groupby(["dataset", "protocol"], sort=False):
            yield str(dataset), str(protocol), self.part(part)

    def with_metric(self, metric: str) -> Material:
        return replace(self, metric=metric)

    def part(self, frame: pd.DataFrame) -> Material:
        """Only the runs of these rows."""
        return replace(self, frame=frame, records={run: self.records[run] for run in frame["id"]})


def gather(store: Store, records: Sequence[Record], policy: str = "last", metric: str = "accuracy") -> Material:
    """The material of some records of a store.

    Raises:
        UsageError: no such policy; or two runs of one cell have the same seed.
    """
    frame = runs_frame(records, policy, recipe_identity)
    return Material(store, {record.id: record for record in records}, frame, policy, metric)
