"""Generated images of several runs side by side, one panel per variant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import torch
from safetensors.torch import load_file

from bench.errors import UsageError, shorten
from bench.reporting.curves import FORMATS
from bench.reporting.pictures import grid
from bench.store import Record, Store

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the choice of a backend that needs no display

ACROSS, ROWS, COLUMNS = 4, 5, 10  # panels in a row of the figure; images in a panel


def plot_samples(store: Store, records: Sequence[Record], path: Path) -> None:
    """The last samples of the first seed of every variant and budget.

    Raises:
        UsageError: no run has kept images, or a file type that cannot be written.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"--output {shorten(path)!r}: allowed endings are {', '.join(FORMATS)}.")
    panels: dict[str, torch.Tensor] = {}
    for record in sorted(records, key=lambda r: r.run.seed):
        if "samples" in record.artefacts:
            samples = load_file(store.path(record.run).with_name(Path(record.artefacts["samples"]).name))
            run = record.run
            if "images" in samples and samples["images"].dim() == 5:
                title = (
                    f"{run.label.split('[')[0]}, {run.dataset}, {run.budget} labels, step {int(samples['steps'][-1])}"
                )
                panels.setdefault(title, samples["images"][-1])
    if not panels:
        raise UsageError("there are no runs with generated images. Make some with `bench run --samples`.")
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(down, across, figsize=(4.2 * across, 2.5 * down), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, images) in zip(axes.flat, panels.items(), strict=False):
        spread = images[torch.linspace(0, len(images) - 1, min(ROWS * COLUMNS, len(images))).long()]
        axis.imshow(grid(spread, COLUMNS, float(images.max())))
        axis.set_title(title, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
