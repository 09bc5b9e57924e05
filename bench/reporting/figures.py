"""Writing figures, and reading the samples that runs have kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.errors import UsageError, shorten
from bench.store import Record, Store

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the choice of a backend that needs no display

FORMATS = (".svg", ".png", ".pdf")


def check_format(path: Path, option: str = "--output") -> None:
    """
    Raises:
        UsageError: a file type that cannot be written.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"{option} {shorten(path)!r}: allowed endings are {', '.join(FORMATS)}.")


def save_figure(figure: Any, path: Path, dpi: int = 150, option: str = "--output") -> None:
    """Writes the figure, the same bytes for the same content, and closes it.

    Raises:
        UsageError: the file cannot be written.
    """
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=dpi, metadata={"Date": None} if path.suffix == ".svg" else None)
    except OSError as error:
        raise UsageError(f"{option} {shorten(path)!r} cannot be written: {error.strerror}.") from error
    finally:
        plt.close(figure)


def samples_of(store: Store, record: Record) -> dict[str, Tensor] | None:
    """What the run has kept for pictures; None where it kept nothing, or its file was not copied along.

    Raises:
        UsageError: the file is broken.
    """
    name = record.artefacts.get("samples")
    path = store.path(record.run).with_name(Path(name).name) if name else None
    if path is None or not path.is_file():
        return None
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{shorten(path, 300)} is no readable safetensors file: {shorten(error)}.") from error
