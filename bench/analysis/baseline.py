"""What a regression gate compares with: the runs of a suite as they once were, in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError, model_validator

from bench.analysis.policies import errors_of
from bench.analysis.runs import protocol_label
from bench.errors import UsageError, shorten
from bench.grid import Run
from bench.store import Record
from bench.store.local import write_atomically

SCHEMA = 1  # raise it when a file of today could not be read by the code of yesterday
POLICY = "last"
FEWEST = 3  # seeds per cell: with fewer their spread is not known


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Cell(_Part):
    """Runs that are compared with each other: whatever their recipe is."""

    dataset: str
    protocol: str
    variant: str
    budget: NonNegativeInt

    @classmethod
    def of(cls, run: Run) -> Cell:
        return cls(dataset=run.dataset, protocol=protocol_label(run), variant=run.row or run.variant, budget=run.budget)

    def __str__(self) -> str:
        return f"{self.variant}, {self.budget} labels ({self.dataset}, {self.protocol})"


class Seen(_Part):
    """One run, as far as a gate looks at it."""

    seed: NonNegativeInt
    status: Literal["done", "diverged", "failed"]
    accuracy: float | None = None  # percent, policy `last`
    curve: str | None = None  # SHA-256 of errors and losses along the run, every bit of them
    numerics: dict[str, str]  # of the machine and torch: equal curves are to be had where these are equal

    @classmethod
    def of(cls, record: Record) -> Seen:
        errors = errors_of(record, POLICY) if record.status == "done" else None
        accuracy = None if errors is None else round(100 * (1 - errors / record.test_images), 10)
        return cls(
            seed=record.run.seed, status=record.status, accuracy=accuracy, curve=_hash(record),
            numerics=_numerics(record),
        )  # fmt: skip


class Baseline(_Part):
    """The suite, so that a gate can run it again, and the runs of each cell."""

    schema_version: int = SCHEMA
    name: str  # of the suite
    suite: dict[str, Any]  # what the suite's file held
    cells: tuple[tuple[Cell, tuple[Seen, ...]], ...]

    @model_validator(mode="after")
    def _enough(self) -> Baseline:
        few = [str(cell) for cell, runs in self.cells if sum(run.accuracy is not None for run in runs) < FEWEST]
        if few or not self.cells:
            raise ValueError(
                f"a baseline needs {FEWEST} finished runs per cell; not so: {'; '.join(few) or 'no cells'}"
            )
        return self

    def write(self, path: Path) -> None:
        """
        Raises:
            UsageError: the file cannot be written.
        """
        try:
            write_atomically(path, self._text().encode())
        except OSError as error:
            raise UsageError(f"--update {shorten(path)!r} cannot be written: {error.strerror}.") from error

    def _text(self) -> str:
        """JSON with a line per run."""
        whole = self.model_dump(mode="json")
        cells = [(json.dumps(cell), ",\n  ".join(map(json.dumps, runs))) for cell, runs in whole["cells"]]
        lines = ",\n".join(f" [{cell}, [\n  {runs}\n ]]" for cell, runs in cells)
        head = {name: value for name, value in whole.items() if name != "cells"}
        return json.dumps(head, indent=1)[:-2] + f',\n "cells": [\n{lines}\n]}}\n'

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """
        Raises:
            UsageError: no such file, no baseline, or one of a newer format.
        """
        try:
            data = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not valid JSON"
            raise UsageError(f"baseline {shorten(path)!r} cannot be read: {why}.") from error
        version = data.get("schema_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > SCHEMA:
            raise UsageError(
                f"baseline {shorten(path)!r} has the newer format {version} (this version reads {SCHEMA}). "
                "Upgrade ssgan-bench."
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            what = shorten(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
            raise UsageError(f"{shorten(path)!r} is no baseline ({what}). `bench gate --update` makes one.") from error


def by_cell(records: Sequence[Record]) -> dict[Cell, tuple[Seen, ...]]:
    """The runs of each cell by seed, cells in the order of the records.

    Raises:
        UsageError: a cell holds a seed twice.
    """
    found: dict[Cell, dict[int, Seen]] = {}
    for record in records:
        runs, seed = found.setdefault(Cell.of(record.run), {}), record.run.seed
        if seed in runs:
            raise UsageError(
                f"seed {seed} of {Cell.of(record.run)} is there with several recipes or versions, and a gate cannot "
                "know which is meant. Give it a results folder of its own with --results."
            )
        runs[seed] = Seen.of(record)
    return {cell: tuple(runs[seed] for seed in sorted(runs)) for cell, runs in found.items()}


def _hash(record: Record) -> str | None:
    if record.curve is None:
        return None
    text = json.dumps(record.curve.model_dump(mode="json", exclude={"seconds"}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _numerics(record: Record) -> dict[str, str]:
    facts = record.provenance
    named = {name: str(facts.get(name, "")) for name in ("processor", "device", "mkl", "mkl_cbwr")}
    return {"torch": str(facts.get("packages", {}).get("torch", "")), **named}
