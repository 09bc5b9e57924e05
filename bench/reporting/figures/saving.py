"""Writing figures, and reading the samples that runs have kept."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from bench.errors import UsageError, shorten
from bench.reporting.figures.style import styled
from bench.store import Record, Store

# each with what would make two files of the same content differ
FORMATS = {".svg": {"Date": None}, ".png": {}, ".pdf": {"CreationDate": None}}


def check_format(path: Path, option: str = "--output") -> None:
    """
    Raises:
        UsageError: a file type that cannot be written.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"{option} {shorten(path)!r}: allowed endings are {', '.join(FORMATS)}.")


@styled
def figure_bytes(figure: Figure, ending: str) -> bytes:
    """The figure as a file of this ending (of `FORMATS`): the same bytes for the same content."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=ending[1:], metadata=FORMATS[ending])
    return buffer.getvalue()


def save_figure(figure: Figure, path: Path, option: str = "--output") -> None:
    """
    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.write_bytes(figure_bytes(figure, path.suffix))
    except OSError as error:
        raise UsageError(f"{option} {shorten(path)!r} cannot be written: {error.strerror}.") from error


def samples_of(store: Store, record: Record) -> dict[str, Tensor] | None:
    """What the run has kept for pictures; None where it kept nothing, or its file was not copied along.

    Raises:
        UsageError: the file is broken.
    """
    content = store.artefact(record, "samples")
    try:
        return None if content is None else load(content)
    except SafetensorError as error:
        raise UsageError(f"the samples of run {record.id} are no readable safetensors: {shorten(error)}.") from error
