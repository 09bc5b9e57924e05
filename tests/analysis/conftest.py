"""Records to analyse, with nothing in them but what a test is about."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from bench.grid.run import Run
from bench.store import Curve, Record

MakeRecord = Callable[..., Record]


@pytest.fixture
def record() -> MakeRecord:
    """Makes a record: errors of the raw weights on 200 images, further lists of its curve, changes to its run."""
    ids = itertools.count(1)

    def make(
        raw: list[int],
        status: str = "done",
        curve: dict[str, Any] | None = None,
        recipe: dict[str, Any] | None = None,
        **run: Any,
    ) -> Record:
        fields: dict[str, Any] = {
            "id": f"{next(ids):016x}",
            "variant": "fm",
            "version": 1,
            "dataset": "digits",
            "dataset_hash": "d" * 64,
            "protocol": "common",
            "recipe": {"lr": 0.001, "steps": 400, "epochs": None, "evaluate_with": "raw"} | (recipe or {}),
            "overrides": {},
            "budget": 20,
            "selection": "balanced",
            "seed": 0,
            "steps": 400,
        }
        measured = None
        if raw:
            steps = list(range(1, len(raw) + 1))
            measured = Curve(steps=steps, seconds=[0.0] * len(raw), raw=raw, **(curve or {}))
        at = 1 if status == "diverged" else None
        whole: dict[str, Any] = {"status": status, "diverged_at": at, "curve": measured, "test_images": 200}
        return Record(run=Run(**fields | run), **whole)

    return make
