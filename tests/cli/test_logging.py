"""`bench run --log`: what is trained now goes to the tracker, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GRID = ("run", "--variants", "supervised", "--labels", "20", "--protocol", "smoke", "--results", "runs")


def _logged(root: Path) -> list[str]:
    return sorted(path.parent.parent.name for path in root.glob("runs/.tensorboard/digits/supervised/*/*/*/*/events.*"))


def test_runs_are_logged_when_they_are_trained(bench_cli: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    assert bench_cli(*GRID, "--seeds", "1", "--log", "tensorboard", "--dry-run").code == 0
    assert not list(tmp_path.iterdir())
    assert bench_cli(*GRID, "--seeds", "1").code == 0
    assert not (tmp_path / "runs/.tensorboard").exists()
    answer = bench_cli(*GRID, "--seeds", "2", "--log", "tensorboard")
    assert "\n1 runs that were trained now are logged in runs/.tensorboard" in answer.out
    assert _logged(tmp_path) == ["seed-1"]


def test_an_unknown_tracker_trains_nothing(bench_cli: Callable[..., Any], tmp_path: Path) -> None:
    answer = bench_cli(*GRID, "--seeds", "1", "--log", "wandb")
    assert answer.code == 2
    assert "unknown tracker in --log 'wandb'. Allowed: mlflow, tensorboard" in answer.err
    assert not list(tmp_path.iterdir())
