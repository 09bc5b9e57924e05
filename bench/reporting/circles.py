"""Two circles: one panel per variant with points, generated points and the decision boundary; a table beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from safetensors.torch import load_file

from bench.analysis.belt import BELT, MIDDLE, measure
from bench.analysis.cells import summary
from bench.errors import UsageError, shorten
from bench.reporting.curves import FORMATS
from bench.reporting.pictures import draw_plane
from bench.store import Record, Store

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the choice of a backend that needs no display

DATASET, INNER_CLASS, ACROSS = "two-circles", 1, 5


def plot_circles(store: Store, records: Sequence[Record], path: Path) -> str:
    """Draws the first seed of every variant and returns the table over all seeds, as Markdown.

    Raises:
        UsageError: no runs on two-circles with samples, or a file type that cannot be written.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"--output {shorten(path)!r}: allowed endings are {', '.join(FORMATS)}.")
    kept = [r for r in records if r.run.dataset == DATASET and r.status == "done" and "samples" in r.artefacts]
    if not kept:
        raise UsageError("there are no runs on two-circles with samples. Make some with `bench run --samples`.")
    samples = {r.id: load_file(store.path(r.run).with_name(Path(r.artefacts["samples"]).name)) for r in kept}
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in sorted(kept, key=lambda r: r.run.seed):
        groups.setdefault((record.run.label, record.run.budget), []).append(record)
    across = min(len(groups), ACROSS)
    down = -(-len(groups) // across)
    figure, panels = plt.subplots(down, across, figsize=(3.2 * across, 3.7 * down), squeeze=False)
    rows = []
    for panel, ((label, budget), runs) in zip(panels.flat, groups.items(), strict=False):
        found = pd.DataFrame([{**measure(samples[r.id], INNER_CLASS), "accuracy": _accuracy(r)} for r in runs])
        rows.append({"variant": label, "labels": str(budget), "runs": str(len(runs)), **_texts(found)})
        draw_plane(panel, samples[runs[0].id], -1, _title(label, budget, runs[0].run.seed))
    for panel in panels.flat[len(groups) :]:
        panel.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
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
