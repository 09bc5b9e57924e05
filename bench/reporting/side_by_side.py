"""Generated images of several runs side by side, one panel per variant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from bench.errors import UsageError
from bench.reporting.figures import check_format, samples_of, save_figure
from bench.reporting.pictures import grid
from bench.store import Record, Store

ACROSS, ROWS, COLUMNS = 4, 5, 10  # panels in a row of the figure; images in a panel


def plot_samples(store: Store, records: Sequence[Record], path: Path) -> None:
    """The last samples of the first seed of every variant and budget.

    Raises:
        UsageError: no run has kept images, or a file type that cannot be written.
    """
    check_format(path)
    panels: dict[str, torch.Tensor] = {}
    for record in sorted(records, key=lambda r: r.run.seed):
        samples, run = samples_of(store, record) or {}, record.run
        if "images" in samples and samples["images"].dim() == 5:
            name, step = run.label.split("[")[0], int(samples["steps"][-1])
            title = f"{name}, {run.dataset}, {run.budget} labels, step {step}"
            panels.setdefault(title, samples["images"][-1])
    if not panels:
        raise UsageError(
            "there are no runs with generated images here. Make some with `bench run --samples`; copies of run files "
            "alone have none."
        )
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(down, across, figsize=(4.2 * across, 2.5 * down), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, images) in zip(axes.flat, panels.items(), strict=False):
        spread = images[torch.linspace(0, len(images) - 1, min(ROWS * COLUMNS, len(images))).long()]
        axis.imshow(grid(spread, COLUMNS, float(images.max())))
        axis.set_title(title, fontsize=8)
    save_figure(figure, path, dpi=110)
