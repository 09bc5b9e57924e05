"""Figures of cells: against labels, against costs, against published numbers, and ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.reporting.figures import budgets, cost, published, ranks
from bench.reporting.figures.placing import place

pytestmark = pytest.mark.usefixtures("quick")


def test_accuracy_against_labels_on_a_log_axis_with_the_budgets_as_ticks(run: Any, material: Any) -> None:
    records = [
        run([wrong + seed], variant=name, budget=budget, seed=seed)
        for name, start in {"fm": 20, "supervised": 60}.items()
        for budget, wrong in {20: start, 50: start - 10}.items()
        for seed in (0, 2)
    ]
    figure = budgets.draw(material(*records))
    (panel,) = figure.axes
    assert panel.get_xscale() == "log"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["20", "50"]
    means = {tuple(line.get_ydata()) for line in panel.lines if line.get_marker() in ("o", "d")}
    assert means == {(89.5, 94.5), (69.5, 74.5)}
    places = [line.get_xdata()[0] for line in panel.lines if line.get_marker() in ("o", "d")]
    assert np.prod(places) == pytest.approx(400)  # beside each other, as factors around 20
    assert places[0] != places[1]
    bar = next(c.get_segments()[0] for c in panel.collections)
    assert abs(bar[1, 1] - bar[0, 1]) == pytest.approx(2 * 12.706205 * 0.5, rel=1e-6)  # t for 1 degree, error 0.5


def test_published_points_lie_beside_their_own_variant_but_never_beside_smoke(run: Any, material: Any) -> None:
    """Salimans et al. (2016), Table 1: 1677, 221, 93 and 90 wrong images of 10,000."""

    def hollow(protocol: str, **fields: Any) -> set[tuple[int, float]]:
        records = [run([20], dataset="mnist", budget=b, protocol=protocol, **fields) for b in (100, 1000)]
        (panel,) = budgets.draw(material(*records)).axes
        lines = [line for line in panel.lines if line.get_markerfacecolor() == "white"]
        return {(round(float(line.get_xdata()[0])), round(float(line.get_ydata()[0]), 2)) for line in lines}

    assert {(20, 83.23), (50, 97.79), (100, 99.07), (200, 99.1)} <= hollow("paper")
    assert (100, 99.14) not in hollow("paper")  # an ensemble
    assert hollow("smoke") == set()
    assert hollow("paper", overrides={"lr": 1}) == set()


def test_one_budget_alone_is_no_curve(run: Any, material: Any) -> None:
    assert budgets.draw(material(run([20]))) is None
    assert budgets.draw(material(run([], status="failed"), run([], status="failed", budget=50))) is None


def test_accuracy_against_operations_and_seconds(run: Any, material: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "training_flops", lambda own: {"fm": 3e12, "supervised": 1e9}.get(own.variant))
    records = [
        run([20], variant=name, seed=seed, seconds=[8.0 + seed], cohort=2)
        for name in ("fm", "supervised")
        for seed in (0, 4)
    ]
    records.append(run([40], variant="unknown", seconds=[100]))
    figure = cost.draw(material(*records))
    operations, time = figure.axes
    assert (operations.get_xscale(), time.get_xscale()) == ("log", "log")
    assert "operations" in operations.get_xlabel()
    assert "seconds" in time.get_xlabel()
    assert sorted(line.get_xdata()[0] for line in operations.lines) == [1e9, 3e12]
    assert sorted(line.get_xdata()[0] for line in time.lines) == [5, 5, 100]
    assert sorted(line.get_ydata()[0] for line in time.lines) == [80, 90, 90]
    monkeypatch.setattr(cost, "training_flops", lambda own: None)
    assert len(cost.draw(material(*records)).axes) == 1


def test_measured_against_published_with_the_diagonal(run: Any, material: Any) -> None:
    wrong = {0: [2, 4], 1: [4, 2]}  # accuracies of 98.5 and 98.5 % at two budgets, sample std 0.7071
    records = [
        run([own], dataset="mnist", budget=budget, protocol="paper", seed=seed)
        for index, budget in enumerate((20, 100))
        for seed, own in enumerate(wrong[index])
    ]
    figure = published.draw(material(*records))
    panel, key = figure.axes
    (diagonal,) = [line for line in panel.lines if len(line.get_xdata()) == 2]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    points = [line for line in panel.lines if len(line.get_xdata()) == 1]
    assert {float(line.get_ydata()[0]) for line in points} == {98.5}
    filled = {round(float(line.get_xdata()[0]), 2) for line in points if line.get_markerfacecolor() != "white"}
    hollow = {round(float(line.get_xdata()[0]), 2) for line in points if line.get_markerfacecolor() == "white"}
    assert {83.23, 99.07} <= filled
    assert 88.66 in hollow  # an ensemble: 1134 errors
    assert panel.get_xlim() == panel.get_ylim()
    numbers = [text.get_text() for text in panel.texts]
    lines = key.texts[0].get_text()
    assert numbers == [str(index + 1) for index in range(len(numbers))]
    assert all(f"{number}  fm, " in lines for number in numbers)
    assert "Salimans et al., arXiv:1606.03498" in lines


def test_nothing_published_is_drawn_for_smoke_or_for_other_data(run: Any, material: Any) -> None:
    assert published.draw(material(run([2], dataset="mnist", budget=100, protocol="smoke"))) is None
    assert published.draw(material(run([2]))) is None


def test_numbers_cover_neither_each_other_nor_points() -> None:
    points = [(float(x), float(y)) for x in range(0, 12, 4) for y in range(0, 12, 4)]
    centres = [(x + dx, y + dy) for (x, y), (dx, dy) in zip(points, place(points, 10, 8, 6), strict=True)]
    for index, (x, y) in enumerate(centres):
        assert all(abs(x - a) >= 10 or abs(y - b) >= 8 for a, b in centres[:index])
        assert all(abs(x - a) >= 8 or abs(y - b) >= 7 for a, b in points)


def test_ranks_need_three_variants_in_two_cells(run: Any, material: Any) -> None:
    records = [run([w], variant=v, budget=b) for b in (20, 50) for w, v in enumerate(["supervised", "fm", "triple"])]
    texts = [text.get_text() for text in ranks.draw(material(*records)).axes[0].texts]
    assert sorted(texts) == ["(3.00) triple", "fm (2.00)", "supervised (1.00)"]
    assert ranks.draw(material(*records[:3])) is None
    assert ranks.draw(material(*(record for record in records if record.run.variant != "fm"))) is None
