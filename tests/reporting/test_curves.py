"""Learning curves: the numbers drawn are those of the runs, and published points appear only where they belong."""

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.grid import Run
from bench.reporting import curves
from bench.store import Curve, Record


def _record(**fields: object) -> Record:
    usual: dict[str, object] = {
        **{"id": "0" * 16, "variant": "fm", "version": 1, "dataset": "digits", "dataset_hash": "d", "budget": 20},
        **{"protocol": "common", "recipe": {}, "overrides": {}, "selection": "balanced", "seed": 0, "steps": 1800},
    }
    run = Run.model_validate({**usual, **fields})
    curve = Curve(steps=[600, 1200, 1800], seconds=[1.0, 2.0, 3.0], raw=[40, 20, 10], ema=[80, 50, 4])
    return Record(run=run, status="done", test_images=200, curve=curve)


def test_the_curve_is_that_of_the_weights_that_give_the_accuracy() -> None:
    averaged = _record(recipe={"evaluate_with": "ema"})
    raw = _record(recipe={"evaluate_with": "raw"})
    assert curves.error_curve(averaged) == ([600, 1200, 1800], [40.0, 25.0, 2.0])
    assert curves.error_curve(raw) == ([600, 1200, 1800], [20.0, 10.0, 5.0])


def test_a_published_curve_appears_beside_the_papers_protocol_only(tmp_path: Path) -> None:
    paper = _record(variant="fm", dataset="mnist", budget=100, protocol="paper@0.1", steps=1800)
    common = _record(variant="fm", dataset="mnist", budget=100, protocol="common", steps=1800)
    curves.plot_curves([paper], tmp_path / "paper.svg")
    curves.plot_curves([common], tmp_path / "common.svg")
    with_points, without = (tmp_path / "paper.svg").read_text(), (tmp_path / "common.svg").read_text()
    assert with_points.count("<!-- fm: Chainer port") == 1
    assert "Chainer port" not in without


def test_published_curves_are_whole() -> None:
    for curve in curves.reference_curves():
        assert len(curve["steps"]) == len(curve["error"]) > 10
        assert curve["steps"] == sorted(curve["steps"])
        assert all(0 < error < 100 for error in curve["error"])
        assert curve["source"]


def test_errors_name_the_cause(tmp_path: Path) -> None:
    record = _record()
    with pytest.raises(UsageError, match=r"\.svg, \.png, \.pdf"):
        curves.plot_curves([record], tmp_path / "curve.docx")
    with pytest.raises(UsageError, match="no finished runs"):
        curves.plot_curves([], tmp_path / "curve.svg")
    with pytest.raises(UsageError, match="cannot be written"):
        curves.plot_curves([record], tmp_path / "missing" / "curve.svg")
