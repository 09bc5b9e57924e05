"""Cost per run against cohort size: fit, knee, words and figure of made-up times; a tiny measurement."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import registry
from bench.datasets import Dataset
from bench.reporting.figures.saving import figure_bytes
from bench.speed import growth
from bench.speed.figure import draw
from bench.speed.growth import Growth, fitting, measure_growth, reason, section
from bench.speed.rounds import Alternative, Effort, Spread
from bench.speed.setup import Setup


def made(executor: str, shared: float, own: float, sizes: tuple[int, ...] = (1, 2, 5, 10, 20, 40, 80)) -> Growth:
    """Times that are a / n + b to the last digit."""
    seconds = {n: shared / n + own for n in sizes}
    relative = {n: Spread(s / seconds[1], 0.9 * s / seconds[1], 1.1 * s / seconds[1]) for n, s in seconds.items()}
    return Growth(executor, seconds, relative, 0.0005)


def test_fit_finds_what_times_are_made_of() -> None:
    found = made("vmap", 0.003, 0.002)
    assert (found.shared, found.own) == pytest.approx((0.003, 0.002))


def test_fit_is_never_negative() -> None:
    """Times that grow with the cohort share nothing."""
    found = Growth("loop", {1: 1.0, 10: 1.2}, {1: Spread(1, 1, 1), 10: Spread(1.2, 1.2, 1.2)}, 0.5)
    assert found.shared == 0
    assert found.own == pytest.approx((1 + 1 / 1.2) / (1 + 1 / 1.44))  # of the relative squares


def test_knee_by_hand() -> None:
    """3 / n + 2: 5, 3.5, 2.6, 2.3, 2.15, 2.075. Per doubling 10 to 20 saves 6.5 %, 20 to 40 saves 3.5 %."""
    assert made("vmap", 3.0, 2.0).knee == 20
    assert made("vmap", 3.0, 2.0, (1, 2, 5, 10, 20)).knee is None
    assert made("loop", 0.01, 2.0).knee == 1
    # 5 to 10 saves 11.5 % in one doubling; from 2 to 5 are 1.32 doublings, each saving 20 %
    assert made("vmap", 3.0, 2.0, (1, 2, 10, 80)).knee == 10


def test_words() -> None:
    assert reason(made("vmap", 0.003, 0.002)) == (
        "`vmap`, knee at 20. a = 3.00 ms, 60% of a run alone: calls, whose number does not grow with the cohort. "
        "b = 2.00 ms, of which products take 0.50 ms: arithmetic, which no cohort saves. The sum misses no measured "
        "time by more than 0%."
    )


def test_section_has_every_size() -> None:
    text = section({"digits": made("vmap", 0.003, 0.002), "MNIST": made("loop", 0.0, 0.06, (1, 2))})
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[0] for row in cells] == ["1", "2", "5", "10", "20", "40", "80"]
    assert cells[1] == ["2", "3.50", "0.70 (0.63 to 0.77)", "60.00", "1.00 (0.90 to 1.10)"]
    assert cells[2][3:] == ["", ""]


def test_sizes_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of 4,000 KiB is 1,024,000 bytes: 10 runs of 100,000."""
    monkeypatch.setattr(growth, "MEMORY", tmp_path / "meminfo")
    assert fitting((1, 10, 11), 100_000) == [1, 10, 11]
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4000 kB\n")
    assert fitting((1, 10, 11), 100_000) == [1, 10]


def test_measured_relative_to_a_cohort_of_one(digits: Dataset) -> None:
    kind = registry.get("majority")
    chosen = Setup(kind, kind.recipe_for("common", "digits", "grey"), digits)
    calls: list[int] = []
    found = measure_growth(chosen, Alternative(lambda: calls.append(1)), (1, 4), Effort(1, 0.0))
    assert found.executor == "vmap"
    assert set(found.seconds) == set(found.relative) == {1, 4}
    assert found.relative[1] == (1.0, 1.0, 1.0)
    assert found.seconds[4] == pytest.approx(found.seconds[1] * found.relative[4].median)
    assert calls


def test_figure() -> None:
    figure = draw({"digits": made("vmap", 0.003, 0.002), "MNIST": made("loop", 0.0, 0.06)})
    (panel,) = figure.axes
    legend = panel.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["digits (vmap)", "MNIST (loop)"]
    assert [note.get_text() for note in panel.texts] == ["knee: 20", "knee: 1"]
    drawn = panel.containers[0].lines[0]
    assert drawn.get_xdata().tolist() == [1, 2, 5, 10, 20, 40, 80]
    assert drawn.get_ydata()[2] == pytest.approx(2.6 / 5)
    assert figure_bytes(figure, ".svg").startswith(b"<?xml")
