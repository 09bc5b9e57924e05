"""Learning curves against time: test error against the seconds that a run has taken so far."""

from __future__ import annotations

from matplotlib.figure import Figure

from bench.reporting.figures.learning import Against, learning_curves
from bench.reporting.figures.reading import seconds_per_run
from bench.reporting.figures.style import styled
from bench.reporting.material import Material

LABEL = "seconds of training per run (those of its cohort / runs in the cohort)"


@styled
def draw(material: Material) -> Figure | None:
    """None where no run was evaluated."""
    return learning_curves(material, Against(LABEL, seconds_per_run))
