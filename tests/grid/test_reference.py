"""The committed reference runs are those that today's code would plan."""

from __future__ import annotations

from pathlib import Path

from bench.grid.stale import is_stale
from bench.store import Store

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def test_no_reference_run_is_stale() -> None:
    """A run's id holds its variant's version and recipe: whoever moves either trains the reference runs anew."""
    records = list(Store(REFERENCE).records())
    assert len(records) > 500
    assert sorted({record.run.variant for record in records if is_stale(record.run)}) == []
