"""Learning curves: what is drawn are the numbers of the runs, and published points appear only where they belong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy import stats

from bench.reporting.figures import curves, losses, seconds
from bench.reporting.figures.learning import error_curve

pytestmark = pytest.mark.usefixtures("quick")


def panels(figure: Figure | None) -> dict[str, Any]:
    assert figure is not None
    return {panel.get_title(): panel for panel in figure.axes}


def faint(panel: Any) -> list[list[list[float]]]:
    """The lines of single runs, `[runs][points][x, y]`."""
    found = [c for c in panel.collections if isinstance(c, LineCollection)]
    return [segment.tolist() for collection in found for segment in collection.get_segments()]


def bold(panel: Any) -> list[tuple[list[float], list[float]]]:
    """x and y of the lines that are drawn in full strength."""
    lines = [line for line in panel.lines if line.get_alpha() is None]
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in lines]


def names(figure: Figure) -> list[str]:
    legends = [legend for area in figure.subfigs for legend in area.legends]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def test_the_curve_is_that_of_the_weights_that_give_the_accuracy(run: Any) -> None:
    averaged = run([40, 20, 10], ema=[80, 50, 4], recipe={"evaluate_with": "ema"})
    raw = run([40, 20, 10], ema=[80, 50, 4], recipe={"evaluate_with": "raw"})
    assert error_curve(averaged) == [40.0, 25.0, 2.0]
    assert error_curve(raw) == [20.0, 10.0, 5.0]


def test_mean_interval_and_every_seed(run: Any, material: Any) -> None:
    wrong = [[80, 60, 40, 20], [90, 60, 50, 24], [100, 30, 40, 28]]
    figure = curves.draw(material(*(run(own, seed=seed) for seed, own in enumerate(wrong))))
    panel = panels(figure)["20 labels"]
    errors = np.array(wrong) / 2
    assert faint(panel) == [[[100 * (i + 1), e] for i, e in enumerate(own)] for own in errors.tolist()]
    ((steps, mean),) = bold(panel)
    assert steps == [100, 200, 300, 400]
    np.testing.assert_allclose(mean, errors.sum(0) / 3)
    half = 4.302653 * np.sqrt(((errors - errors.mean(0)) ** 2).sum(0) / 2) / np.sqrt(3)  # t quantile, 2 degrees
    band = next(c for c in panel.collections if not isinstance(c, LineCollection)).get_paths()[0].vertices
    for step, center, width in zip(steps, errors.mean(0), half, strict=True):
        ends = band[np.isclose(band[:, 0], step)][:, 1]
        np.testing.assert_allclose([ends.min(), ends.max()], [center - width, center + width], rtol=1e-6)


def test_runs_that_diverged_are_drawn_and_counted_and_enter_no_mean(run: Any, material: Any) -> None:
    good, gone = run([80, 60, 40, 20]), run([80, 180, 180, 180], status="diverged", seed=1)
    broken = run([], status="failed", seed=2, steps=400)
    figure = curves.draw(material(good, gone, broken))
    panel = panels(figure)["20 labels"]
    assert len(faint(panel)) == 2
    assert bold(panel) == [([100, 200, 300, 400], [40, 30, 20, 10])]
    assert names(figure) == ["fm (1 lost)"]
    assert curves.draw(material(broken)) is None


def test_seeds_that_were_measured_at_other_steps_have_no_mean(run: Any, material: Any) -> None:
    figure = curves.draw(material(run([80, 60, 40, 20], steps=400), run([80, 60, 40, 20, 10], seed=1, steps=400)))
    panel = panels(figure)["20 labels"]
    assert len(faint(panel)) == 2
    assert bold(panel) == []


def test_seconds_are_those_of_the_cohort_shared_out(run: Any, material: Any) -> None:
    alone, one_of_four = (
        run([80, 60, 40, 20], seconds=[2, 4, 6, 8]),
        run([80, 60, 40, 20], "done", None, [4, 8, 12, 16], 4, seed=1),
    )
    panel = panels(seconds.draw(material(alone, one_of_four)))["20 labels"]
    assert [[x for x, _ in own] for own in faint(panel)] == [[2, 4, 6, 8], [1, 2, 3, 4]]
    assert bold(panel) == [([1.5, 3, 4.5, 6], [40, 30, 20, 10])]


def test_one_evaluation_is_marked_with_its_interval(run: Any, material: Any) -> None:
    records = [
        run([wrong], variant=v, seed=s)
        for v, two in {"fm": (20, 40), "supervised": (60, 64)}.items()
        for s, wrong in enumerate(two)
    ]
    panel = panels(curves.draw(material(*records)))["20 labels"]
    marked = [line for line in panel.lines if line.get_marker() not in ("", "None", "_") and line.get_alpha() is None]
    assert sorted(float(line.get_ydata()[0]) for line in marked) == [15, 31]
    low, high = panel.get_ylim()
    assert low <= 0
    assert high >= 15 + stats.t.ppf(0.975, 1) * 5 / 1  # 10 % and 20 %: standard error 5
    assert panel.get_xlim() == (0, 200)


@pytest.mark.parametrize(
    ("wrong", "scale"), [([120, 60, 20, 4], "log"), ([120, 60, 20, 0], "symlog"), ([20, 22, 18, 19], "linear")]
)
def test_every_error_is_on_the_axis(wrong: list[int], scale: str, run: Any, material: Any) -> None:
    panel = panels(curves.draw(material(run(wrong))))["20 labels"]
    assert panel.get_yscale() == scale
    low, high = panel.get_ylim()
    assert low < min(wrong) / 2
    assert high > max(wrong) / 2
    ticks = [tick for tick in panel.get_yticks() if low <= tick <= high]
    assert len(ticks) >= 2


def test_many_variants_have_panels_of_their_own_with_the_baseline_in_grey(run: Any, material: Any) -> None:
    names_ = ["supervised", *(f"v{index}" for index in range(7))]
    records = [
        run([80, 60, 40, 20 + index], variant=name, budget=budget)
        for index, name in enumerate(names_)
        for budget in (20, 50)
    ]
    figure = curves.draw(material(*records))
    found = panels(figure)
    assert list(found) == names_
    assert names(figure) == ["20 labels", "50 labels", "supervised, mean"]
    assert [y[-1] for _, y in bold(found["v1"])] == [10, 10, 11, 11]  # the baseline at both budgets, then its own
    assert len(bold(found["supervised"])) == 2
    assert len(faint(found["v1"])) == 2


def test_a_published_curve_appears_beside_the_papers_protocol_only(run: Any, material: Any) -> None:
    fields: dict[str, Any] = {"dataset": "mnist", "budget": 100, "steps": 1800}
    figure = curves.draw(material(run([60, 40], protocol="paper@0.1", **fields)))
    assert names(figure) == ["fm", "fm: Chainer port (one run, full schedule)"]
    triangles = [line for line in panels(figure)["100 labels"].lines if line.get_marker() == "^"]
    assert [list(line.get_xdata()) for line in triangles] == [[600, 1200]]
    assert [list(line.get_ydata()) for line in triangles] == [[30.65, 25.2]]
    assert names(curves.draw(material(run([60, 40], protocol="common", **fields)))) == ["fm"]
    assert names(curves.draw(material(run([60, 40], protocol="paper", **{**fields, "steps": 50})))) == ["fm"]


def test_published_curves_are_whole() -> None:
    for curve in curves.reference_curves():
        assert len(curve["steps"]) == len(curve["error"]) > 10
        assert curve["steps"] == sorted(curve["steps"])
        assert all(0 < error < 100 for error in curve["error"])
        assert curve["source"]


def test_losses_of_all_players_at_the_largest_budget_with_gaps(run: Any, material: Any) -> None:
    logs = {
        "generator/loss": [1.0, 2.0, None, 4.0],
        "discriminator/loss": [5.0, 6.0, 7.0, 8.0],
        "generator/norm": [9.0] * 4,
    }
    records = [run([9] * 4, logs={name: [9.0] * 4 for name in logs}), run([9] * 4, logs=logs, budget=50)]
    records.append(run([9] * 4, logs={**logs, "generator/loss": [3.0, None, None, 6.0]}, budget=50, seed=1))
    figure = losses.draw(material(*records, run([9] * 4, variant="supervised")))
    assert names(figure) == ["discriminator", "generator"]
    (panel,) = panels(figure).values()
    assert panel.get_title() == "fm, 50 labels"
    (discriminator, generator) = [y for _, y in bold(panel)]
    np.testing.assert_allclose(generator, [2, 2, np.nan, 5])
    np.testing.assert_allclose(discriminator, [5, 6, 7, 8])
    assert losses.draw(material(run([9] * 4))) is None


def test_losses_off_all_scales_are_gaps_and_runs_that_diverged_set_no_limits(run: Any, material: Any) -> None:
    good = run([9] * 4, logs={"generator/loss": [1.0, 1e300, 2.0, 3.0]})
    gone = run([9] * 4, "diverged", {"generator/loss": [1.0, 50.0, 5e6, 5e6]}, seed=1)
    (panel,) = panels(losses.draw(material(good, gone))).values()
    np.testing.assert_allclose(bold(panel)[0][1], [1, np.nan, 2, 3])
    assert panel.get_title() == "fm, 20 labels (1 lost)"
    low, high = panel.get_ylim()
    assert low < 1
    assert 3 < high < 10
