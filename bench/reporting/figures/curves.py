"""Learning curves: test error against steps, published curves beside."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import yaml
from matplotlib.figure import Figure

from bench.reporting.figures.learning import Against, Points, learning_curves
from bench.reporting.figures.style import styled
from bench.reporting.material import Material


@styled
def draw(material: Material) -> Figure | None:
    """None where no run was evaluated."""
    return learning_curves(
        material, Against("steps", lambda record: record.curve.steps if record.curve else [], _beside)
    )


def reference_curves() -> list[dict[str, Any]]:
    """Published curves: variant, dataset, budget, label, source, steps, error (%)."""
    return yaml.safe_load((files("bench") / "analysis" / "reference_curves.yaml").read_text(encoding="utf-8"))


def _beside(group: Material) -> Sequence[Points]:
    """Published curves for the cells of a group under the papers' recipes, as far as our longest run goes."""
    if not group.frame["protocol"].str.startswith("paper").all():
        return []
    datasets, longest = set(group.frame["base_dataset"]), max(r.run.steps for r in group.records.values())
    found = []
    for curve in reference_curves():
        pairs = [(s, e) for s, e in zip(curve["steps"], curve["error"], strict=True) if s <= 1.02 * longest]
        if pairs and curve["dataset"] in datasets:
            steps, errors = zip(*pairs, strict=True)
            found.append(Points((curve["variant"], curve["budget"]), curve["label"], steps, errors))
    return found
