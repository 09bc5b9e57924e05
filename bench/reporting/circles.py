"""Two circles: one panel per variant with points, generated points and the decision boundary; a table beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bench.analysis.belt import BELT, MIDDLE, measure
from bench.analysis.cells import summary
from bench.errors import UsageError
from bench.reporting.figures import check_format, samples_of, save_figure
from bench.reporting.pictures import draw_plane
from bench.store import Record, Store

DATASET, INNER_CLASS, ACROSS = "two-circles", 1, 5


def plot_circles(store: Store, records: Sequence[Record], path: Path) -> str:
    """Draws the first seed of every variant and returns the table over all seeds, as Markdown.

    Raises:
        UsageError: no runs on two-circles with samples, or a file type that cannot be written.
    """
    check_format(path)
    done = [r for r in records if r.run.dataset == DATASET and r.status == "done"]
    samples = {r.id: own for r in done if (own := samples_of(store, r)) is not None}
    kept = [r for r in done if r.id in samples]
    if not kept:
        raise UsageError(
            "there are no runs on two-circles with samples here. Make some with `bench run --samples`; copies of run "
            "files alone have none."
        )
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in sorted(kept, key=lambda r: r.run.seed):
        groups.setdefault((record.run.label, record.run.budget), []).append(record)
    across = min(len(groups), ACROSS)
    down = -(-len(groups) // across)
    figure, panels = plt.subplots(down, across, figsize=(3.2 * across, 3.7 * down), squeeze=False)
    rows = []
    for panel, ((label, budget), runs) in zip(panels.flat, groups.items(), strict=False):
        numbers = pd.DataFrame([{**measure(samples[r.id], INNER_CLASS), "accuracy": _accuracy(r)} for r in runs])
        rows.append({"variant": label, "labels": str(budget), "runs": str(len(runs)), **_texts(numbers)})
        draw_plane(panel, samples[runs[0].id], -1, _title(label, budget, runs[0].run.seed))
    for panel in panels.flat[len(groups) :]:
        panel.axis("off")
    save_figure(figure, path, dpi=110)
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True, colalign=["left"] + ["right"] * 5)
    return (
        f"{table}\n\nMean ± sample standard deviation over seeds. Belt: generated points between {BELT[0]} and "
        f"{BELT[1]} of the outer radius. Boundary: mean distance from the middle radius {MIDDLE} over all directions, "
        "on the way from one ring to the other; 0.25 where the classifier sees no difference.\n"
    )


def _title(label: str, budget: int, seed: int) -> str:
    """On lines short enough for a panel."""
    return textwrap.fill(f"{label.replace(',', ', ')}: {budget} labels, seed {seed}", 44)


def _accuracy(record: Record) -> float:
    assert record.curve is not None
    return 100 * (1 - getattr(record.curve, record.accuracy_of)[-1] / record.test_images)


def _texts(found: pd.DataFrame) -> dict[str, str]:
    return {
        "in the belt (%)": _mean(found["belt"], 1),
        "boundary off by": _mean(found["distance"], 3),
        "accuracy (%)": _mean(found["accuracy"], 1),
    }


def _mean(values: pd.Series[float], digits: int) -> str:
    found = summary(values.dropna())
    if not found["n"]:
        return "\N{EN DASH}"
    return f"{found['mean']:.{digits}f}" + (f" ± {found['std']:.{digits}f}" if found["n"] > 1 else "")
