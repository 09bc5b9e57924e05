"""Learning curves: test error against steps, the mean over seeds bold, every seed faint, published curves beside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import yaml
from matplotlib.ticker import FormatStrFormatter

from bench.errors import UsageError
from bench.reporting.figures import check_format, save_figure
from bench.store import Record

# Okabe and Ito's colours, told apart by the colour-blind; dashes tell them apart in grey
STYLES = [("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"), ("#E69F00", "-"), ("#56B4E9", "--")]


def reference_curves() -> list[dict[str, Any]]:
    """Published curves: variant, dataset, budget, label, source, steps, error (%)."""
    return yaml.safe_load((files("bench") / "analysis" / "reference_curves.yaml").read_text(encoding="utf-8"))


def error_curve(record: Record) -> tuple[list[int], list[float]]:
    """Steps and test error in percent, of the weights that give the run's accuracy."""
    assert record.curve is not None
    wrong = getattr(record.curve, record.accuracy_of)
    return record.curve.steps, [100 * w / record.test_images for w in wrong]


def plot_curves(records: Sequence[Record], path: Path) -> None:
    """One panel per dataset, one line per variant, protocol and budget.

    Raises:
        UsageError: no finished runs, or a file type that cannot be written.
    """
    check_format(path)
    done = [r for r in records if r.status == "done"]
    if not done:
        raise UsageError("there are no finished runs to draw. Make some with `bench run`.")
    datasets = sorted({r.run.dataset for r in done})
    figure, panels = plt.subplots(1, len(datasets), figsize=(6.4 * len(datasets), 4.4), squeeze=False)
    for panel, dataset in zip(panels[0], datasets, strict=True):
        _draw(panel, dataset, [r for r in done if r.run.dataset == dataset])
    save_figure(figure, path)


def _draw(panel: Any, dataset: str, records: Sequence[Record]) -> None:
    cells: dict[tuple[str, str, int], list[Record]] = {}
    for record in records:
        cells.setdefault((record.run.label, record.run.protocol, record.run.budget), []).append(record)
    longest = max(r.run.steps for r in records)
    for index, ((label, protocol, budget), members) in enumerate(sorted(cells.items())):
        color, dash = STYLES[index % len(STYLES)]
        curves = [error_curve(record) for record in members]
        for steps, error in curves:
            panel.plot(steps, error, color=color, linestyle=dash, alpha=0.25, linewidth=0.8)
        if len({tuple(steps) for steps, _ in curves}) == 1:
            name = f"{label}, {budget} labels, {protocol} (mean of {len(members)})"
            panel.plot(
                curves[0][0], np.mean([error for _, error in curves], 0), color=color, linestyle=dash, label=name
            )
    for reference in _matching(dataset, cells):
        points = [(s, e) for s, e in zip(reference["steps"], reference["error"], strict=True) if s <= longest * 1.02]
        panel.plot(
            *zip(*points, strict=True), "k^", markersize=5, label=f"{reference['variant']}: {reference['label']}"
        )
    panel.set(title=dataset, xlabel="steps", ylabel="test error (%)", yscale="log")
    panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    panel.yaxis.set_minor_formatter(FormatStrFormatter("%g"))
    panel.grid(alpha=0.3, which="both")
    panel.legend(fontsize=8)


def _matching(dataset: str, cells: Iterable[tuple[str, str, int]]) -> list[dict[str, Any]]:
    shown = {(label, budget) for label, protocol, budget in cells if protocol.startswith("paper")}
    return [r for r in reference_curves() if r["dataset"] == dataset and (r["variant"], r["budget"]) in shown]
