"""Figures whose rows are variants: every seed, paired differences, ablations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from bench.reporting.figures import ablation, differences, seeds

pytestmark = pytest.mark.usefixtures("quick")


def row_names(figure: Figure | None) -> list[str]:
    assert figure is not None
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def cell(wrong: list[int], run: Any, **fields: Any) -> list[Any]:
    """A run per seed: wrong images of 200."""
    return [run([own], seed=seed, **fields) for seed, own in enumerate(wrong)]


def test_every_seed_is_a_dot_in_its_row_and_column(run: Any, material: Any) -> None:
    records = cell([20, 30, 30], run, budget=50) + cell([60, 70], run, variant="supervised")
    figure = seeds.draw(material(*records, run([], status="failed", seed=3, budget=50)))
    assert row_names(figure) == ["supervised", "fm"]
    few, many = figure.axes
    assert (few.get_title(), many.get_title()) == ("20 labels", "50 labels")
    (dots,) = [c for c in many.collections if len(c.get_offsets()) == 3]
    assert sorted(dots.get_offsets()[:, 0]) == [85, 85, 90]
    assert len(set(dots.get_offsets()[:, 1])) == 3
    assert all(abs(row - 1) < 0.5 for row in dots.get_offsets()[:, 1])
    (bar,) = [c.get_segments()[0] for c in few.collections if hasattr(c, "get_segments")]
    np.testing.assert_allclose(bar[:, 0], [67.5, 67.5])
    assert [text.get_text() for text in many.texts] == ["1 lost"]
    assert "1 of 6 runs failed or diverged" in figure.subfigs[0].texts[0].get_text()


@pytest.mark.parametrize(("metric", "value"), [("accuracy", 90.0), ("error", 10.0), ("errors", 20.0)])
def test_dots_are_in_the_unit_of_the_metric(metric: str, value: float, run: Any, material: Any) -> None:
    figure = seeds.draw(material(run([20]), metric=metric))
    assert figure.axes[0].collections[0].get_offsets()[0, 0] == pytest.approx(value)


def test_differences_are_paired_by_seed(run: Any, material: Any) -> None:
    fm, base = [20, 30, 34, 50], [60, 64, 90, 70]
    unlike = cell([100, 20, 60, 60], run, variant="triple")
    records = cell(fm, run) + cell(base, run, variant="supervised") + unlike + [run([0], seed=9)]
    figure = differences.draw(material(*records))
    assert row_names(figure) == ["fm", "triple"]
    by_seed = (np.array(base) - np.array(fm)) / 2
    half = 3.182446 * np.sqrt(((by_seed - by_seed.mean()) ** 2).sum() / 3) / 2  # t quantile for 3 degrees of freedom
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in points] == [[0], [1]]
    assert points[0].get_xdata()[0] == pytest.approx(by_seed.mean())
    bar = next(c.get_segments()[0] for c in figure.axes[0].collections if hasattr(c, "get_segments"))
    np.testing.assert_allclose(bar[:, 0], [by_seed.mean() - half, by_seed.mean() + half], rtol=1e-6)
    filled, hollow = (to_hex(line.get_markerfacecolor()) for line in points)
    assert filled == to_hex(points[0].get_color())
    assert hollow == "#ffffff"  # its interval holds 0


def test_without_the_baseline_the_first_variant_is_compared_with(run: Any, material: Any) -> None:
    figure = differences.draw(material(run([20]), run([40], variant="triple")))
    assert row_names(figure) == ["triple"]
    assert "difference to fm" in figure.subfigs[1].get_supxlabel()
    assert [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"] == [-10]


def test_nothing_to_compare(run: Any, material: Any) -> None:
    assert differences.draw(material(run([20]))) is None
    assert differences.draw(material(run([20], seed=0), run([20], variant="triple", seed=1))) is None
    assert differences.draw(material(run([20]), run([20], variant="triple", budget=50))) is None


def test_an_ablation_compares_a_changed_variant_with_itself(run: Any, material: Any) -> None:
    records = cell([40, 50], run) + cell([20, 40], run, overrides={"lr": 0.3}, recipe={"lr": 0.3})
    records += cell([44, 54], run, row="fm-short", recipe={"lr": 0.5}) + cell([60, 60], run, variant="supervised")
    records += cell([1, 1], run, variant="triple", overrides={"x": 1})  # its own recipe is not here
    figure = ablation.draw(material(*records))
    assert row_names(figure) == ["fm-short", "fm[lr=0.3]"]
    (bars,) = [[patch for patch in figure.axes[0].patches if patch.get_height() == pytest.approx(0.62)]]
    assert [(round(bar.get_y() + 0.31), bar.get_width()) for bar in bars] == [(0, -2), (1, 7.5)]
    assert len({to_hex(bar.get_facecolor()) for bar in bars}) == 2  # all seeds lose 2 points; 10 and 5 leave it open


def test_no_ablation_without_the_variant_as_it_is(run: Any, material: Any) -> None:
    changed = run([20], overrides={"lr": 0.3}, recipe={"lr": 0.3})
    assert ablation.draw(material(changed, run([20], variant="supervised"))) is None
    assert ablation.draw(material(changed, run([20], budget=50))) is None
