"""Runs to draw, with nothing in them but what a test is about; and what was drawn, read back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bench.grid import Run
from bench.reporting.material import Material, gather
from bench.store import Curve, Record, Store

MakeRun = Callable[..., Record]
MakeMaterial = Callable[..., Material]


@pytest.fixture
def run() -> MakeRun:
    """`run([40, 20], variant="fm", seed=1)`: wrong images of 200 at steps 100, 200, ...; further fields are the run's.

    `status`, `logs`, `seconds` and `cohort`, the number of runs in it, are the record's.
    """
    ids = itertools.count(1)

    def make(
        wrong: Sequence[int] = (40, 20),
        status: str = "done",
        logs: dict[str, list[float | None]] | None = None,
        seconds: Sequence[float] | None = None,
        cohort: int = 1,
        ema: list[int] | None = None,
        **fields: Any,
    ) -> Record:
        steps = [100 * (index + 1) for index in range(len(wrong))]
        usual = {
            **{"id": f"{next(ids):016x}", "variant": "fm", "version": 1, "dataset": "digits", "dataset_hash": "d" * 64},
            **{"protocol": "common", "recipe": {}, "overrides": {}, "selection": "balanced", "seed": 0, "budget": 20},
        }
        identity = Run.model_validate({**usual, "steps": steps[-1] if steps else 100, **fields})
        curve = Curve(steps=steps, seconds=list(seconds or steps), raw=list(wrong), ema=ema, logs=logs or {})
        return Record(
            run=identity,
            status=status,  # type: ignore[arg-type]  # one of three words
            diverged_at=1 if status == "diverged" else None,
            test_images=200,
            curve=curve if wrong else None,
            provenance={"cohort": ["x"] * cohort},
        )

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels stay where they were made: placing them takes most of a figure's time."""
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda engine, figure: None)


@pytest.fixture
def material(tmp_path: Path) -> MakeMaterial:
    def make(*records: Record, policy: str = "last", metric: str = "accuracy") -> Material:
        store = Store(tmp_path)
        for record in records:
            store.write(record)
        return gather(store, records, policy, metric)

    return make
