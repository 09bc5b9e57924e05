"""Datasets in one NumPy archive: `npz:PATH`."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.datasets.dataset import COLOUR, GREY, Array, Dataset, Part, Scale, assemble
from bench.errors import UsageError, shorten

REQUIRED = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Arrays:
    """The checked content of an archive; images `[n, *shape]`, uint8 or float32, channels first."""

    train: Part
    test: Part
    unlabelled: Array | None
    classes: int


def load_npz(text: str) -> Dataset:
    """A dataset from the archive at the path `text`, called `npz:` and the name of the file."""
    path = Path(os.path.expanduser(text))
    arrays = read_npz(path)
    seen = (
        arrays.train.images if arrays.unlabelled is None else np.concatenate([arrays.train.images, arrays.unlabelled])
    )
    names = [str(k) for k in range(arrays.classes)]
    return assemble(f"npz:{path.stem}", arrays.train, arrays.test, fitting_scale(seen), names, arrays.unlabelled)


def fitting_scale(images: Array) -> Scale:
    """The scale of training images `[n, *shape]`: bytes by the number of channels, floats stay as they are."""
    if images.dtype == np.uint8:
        return COLOUR if images.ndim == 4 and images.shape[1] == 3 else GREY
    low, high = float(images.min()), float(images.max())
    fitting = [limits for limits in ((0.0, 1.0), (-1.0, 1.0)) if limits[0] <= low and high <= limits[1]]
    return Scale(0.0, 1.0, fitting[0] if fitting else None)


def read_npz(path: Path) -> Arrays:
    """Reads and checks an archive with `x_train`, `y_train`, `x_test`, `y_test` and, optionally, `x_unlabelled`.

    Images are `[n, height, width]`, `[n, height, width, channels]` or `[n, features]`, uint8 or float.

    Raises:
        UsageError: no such file, not readable without unpickling, or unfit arrays.
    """
    stored = _stored(path)
    if absent := [name for name in REQUIRED if name not in stored]:
        raise _unfit(
            path,
            f"{', '.join(absent)} missing; it must hold {', '.join(REQUIRED)} and may hold x_unlabelled "
            f"(found: {shorten(', '.join(stored)) or 'nothing'})",
        )
    images = {name: _images(path, name, stored[name]) for name in stored if name.startswith("x_")}
    labels = {name: _labels(path, name, stored[name]) for name in ("y_train", "y_test")}
    for part in ("train", "test"):
        x, y = images[f"x_{part}"], labels[f"y_{part}"]
        if len(x) != len(y):
            raise _unfit(path, f"x_{part} has {len(x)} images but y_{part} has {len(y)} labels")
    first = images["x_train"]
    for name, array in images.items():
        if (array.shape[1:], array.dtype) != (first.shape[1:], first.dtype):
            raise _unfit(path, f"{name} differs from x_train in shape or type ({_kind(array)}, not {_kind(first)})")
    classes = _classes(path, labels["y_train"], labels["y_test"])
    train, test = (Part(images[f"x_{part}"], labels[f"y_{part}"]) for part in ("train", "test"))
    return Arrays(train, test, images.get("x_unlabelled"), classes)


def _stored(path: Path) -> dict[str, Array]:
    """The archive's arrays by name, those that are no part of a dataset left out."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise _unfit(path, "a single array, not an archive of named arrays (numpy.savez)")
        with archive:
            stored = {name: archive[name] for name in (*REQUIRED, "x_unlabelled") if name in archive.files}
    except FileNotFoundError as error:
        raise _unfit(path, "no such file") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        reason = "cannot be read as a NumPy archive of plain arrays (pickled objects are never loaded)"
        raise _unfit(path, f"{reason}: {shorten(error)}") from error
    if strangers := [name for name, value in stored.items() if not isinstance(value, np.ndarray)]:
        raise _unfit(path, f"{strangers[0]} is not a NumPy array")
    return stored


def _images(path: Path, name: str, array: Array) -> Array:
    """Images with channels first, `[n, *shape]`, uint8 or float32."""
    if array.dtype.kind != "f" and array.dtype != np.uint8:
        raise _unfit(path, f"{name} has type {array.dtype}; allowed are uint8 and float")
    shaped = array.ndim in (2, 3) or (array.ndim == 4 and array.shape[3] in (1, 3))
    if not shaped or not array.size:
        raise _unfit(
            path,
            f"{name} has shape {list(array.shape)}; allowed are [n, height, width], [n, height, width, channels] with "
            "1 or 3 channels, and [n, features], none of them empty",
        )
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise _unfit(path, f"{name} holds values that are not finite float32 numbers")
    if array.ndim == 3:
        return array[:, None]
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


def _labels(path: Path, name: str, array: Array) -> Array:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise _unfit(path, f"{name} must be integers of shape [n], not {_kind(array)}")
    return array


def _classes(path: Path, train: Array, test: Array) -> int:
    """The number of classes K: training labels are exactly 0..K-1, and test labels are among them."""
    values = np.unique(train)
    if len(values) < 2:
        raise _unfit(path, f"y_train has {len(values)} class; there must be at least 2")
    if not np.array_equal(values, np.arange(len(values))):
        raise _unfit(
            path, f"y_train must hold every class 0 to K-1; it has {len(values)} from {values[0]} to {values[-1]}"
        )
    if strangers := np.setdiff1d(test, values).tolist():
        raise _unfit(path, f"y_test has the label {strangers[0]}, which y_train does not have")
    return len(values)


def _kind(array: Array) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _unfit(path: Path, reason: str) -> UsageError:
    return UsageError(f"dataset archive {shorten(path, 300)}: {reason}.")
