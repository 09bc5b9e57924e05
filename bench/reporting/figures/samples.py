"""Generated images of several runs side by side, one panel per variant."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from bench.analysis.runs import CELL
from bench.errors import shorten
from bench.reporting.figures.panels import arranged, labels, wrapped
from bench.reporting.figures.saving import samples_of
from bench.reporting.figures.style import styled
from bench.reporting.material import Material
from bench.reporting.pictures import grid

ACROSS, ROWS, COLUMNS = 3, 5, 10  # panels in a row of the figure; images in a panel
DPI = 110
LETTERS = 46  # of a line over a panel


@styled
def draw(material: Material) -> Figure | None:
    """The last samples of the first seed of every cell; None where no run has kept images.

    Raises:
        UsageError: a file of samples is broken.
    """
    panels = _panels(material)
    if not panels:
        return None
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(4.2 * across, 2.5 * down), dpi=DPI)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, images) in zip(axes.flat, panels, strict=False):
        spread = images[torch.linspace(0, len(images) - 1, min(ROWS * COLUMNS, len(images))).long()]
        axis.imshow(grid(spread, COLUMNS, float(images.max()) or 1.0))
        axis.set_title(title, size=10.5)
    return arranged(figure)


def _panels(material: Material) -> list[tuple[str, torch.Tensor]]:
    """A title and images `[n, channels, height, width]` for each cell that has some."""
    found: dict[tuple[str, ...], tuple[str, torch.Tensor]] = {}
    order = material.frame.drop_duplicates(CELL)[CELL].astype(str).apply(tuple, axis=1).tolist()
    for _, run in material.frame.sort_values("seed", kind="stable").iterrows():
        cell = tuple(str(run[name]) for name in CELL)
        samples = {} if cell in found else samples_of(material.store, material.records[run["id"]]) or {}
        if "images" in samples and samples["images"].dim() == 5:
            facts = f"{run['dataset']}, {run['protocol']}, {labels(run['budget'])}, step {int(samples['steps'][-1])}"
            found[cell] = f"{wrapped(run['variant'], LETTERS)}\n{shorten(facts, LETTERS)}", samples["images"][-1]
    return [found[cell] for cell in order if cell in found]
