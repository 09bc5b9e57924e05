"""What tables, figures and pages are made from: the chosen runs of a results folder, read once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    records: Stored
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
        return replace(self, frame=frame, records=self.records.part(frame["id"]))


class Stored(Mapping[str, Record]):
    """Records that stay where they are: there may be thousands, and few tables need more of them than a row."""

    def __init__(self, store: Store, names: Mapping[str, str]) -> None:
        """`names`: of the files, by run id."""
        self.store, self.names = store, dict(names)

    def __getitem__(self, run_id: str) -> Record:
        return self.store.read(self.names[run_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def part(self, ids: Iterable[str]) -> Stored:
        return Stored(self.store, {run_id: self.names[run_id] for run_id in ids})


def gather(store: Store, records: Iterable[Record], policy: str = "last", metric: str = "accuracy") -> Material:
    """The material of some records of a store, each of which is looked at once here.

    Raises:
        UsageError: no such policy; or two runs of one cell have the same seed.
    """
    names: dict[str, str] = {}

    def noted() -> Iterator[Record]:
        for record in records:
            names[record.id] = store.name(record.run)
            yield record

    frame = runs_frame(noted(), policy, recipe_identity)
    return Material(store, Stored(store, names), frame, policy, metric)
