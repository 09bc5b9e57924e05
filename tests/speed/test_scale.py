"""Costs of large grids: the runs are as many as asked for, their files are real ones, and failures are not costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.speed import scale
from bench.store import Store


def test_so_many_runs_are_planned_and_stored(tmp_path: Path) -> None:
    runs = scale.planned(40)
    assert len({run.id for run in runs}) == 40
    scale.stored(runs, tmp_path)
    assert {record.id for record in Store(tmp_path).records()} == {run.id for run in runs}
    real = Path(__file__).parents[2] / "results" / "reference" / "digits" / "fm"
    length = next(real.glob("*.json")).stat().st_size
    own = next((tmp_path / "digits" / "fm").glob("*.json")).stat().st_size
    assert 0.5 < own / length < 1.5


def test_costs_are_those_of_a_process() -> None:
    idle, busy = scale.cost(["-c", "pass"]), scale.cost(["-c", "x = bytearray(300 * 2**20)"])
    assert busy.memory - idle.memory > 250 * 2**20
    with pytest.raises(RuntimeError, match="no luck"):
        scale.cost(["-c", "raise SystemExit('no luck')"])
