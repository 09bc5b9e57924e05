"""Datasets by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.datasets.arrays import load_npz
from bench.datasets.dataset import COLOUR, GREY, Dataset
from bench.datasets.folder import LARGEST, SMALLEST, load_folder
from bench.datasets.generated import load_digits, load_two_circles
from bench.datasets.official import load_cats_dogs, load_cifar10, load_fashion_mnist, load_mnist, load_svhn
from bench.errors import UsageError, shorten, unknown

_GENERATED: dict[str, Callable[[], Dataset]] = {"digits": load_digits, "two-circles": load_two_circles}
_OFFICIAL: dict[str, Callable[[Path, Callable[[str], None], int | None], Dataset]] = {
    "mnist": load_mnist,
    "fashion-mnist": load_fashion_mnist,
    "svhn": load_svhn,
    "cifar10": load_cifar10,
    "cats-dogs": load_cats_dogs,
}
_LOCAL = {
    "npz:PATH": "NumPy archive with x_train, y_train, x_test, y_test and, optionally, x_unlabelled",
    "folder:PATH": "images in train/CLASS/, test/CLASS/ and, optionally, unlabelled/ (see --image-size)",
}


def names() -> list[str]:
    """The datasets that have a name of their own."""
    return [*_GENERATED, *_OFFICIAL]


def describe() -> dict[str, str]:
    """One line per dataset, `npz:PATH` and `folder:PATH` included."""
    return {
        "digits": "scikit-learn's handwritten digits, 8x8 grey, 10 classes; 1,297 to train, 500 to test; no download",
        "two-circles": "two noisy circles in the plane, 2 classes; 2,000 to train, 10,000 to test; no download",
        "mnist": "handwritten digits, 28x28 grey, 10 classes; 60,000 to train, 10,000 to test",
        "fashion-mnist": "clothes, 28x28 grey, 10 classes; 60,000 to train, 10,000 to test",
        "svhn": "house numbers, 32x32 colour, 10 classes; 73,257 to train, 26,032 to test",
        "cifar10": "animals and vehicles, 32x32 colour, 10 classes; 50,000 to train, 10,000 to test",
        "cats-dogs": "the cats and dogs of cifar10, 32x32 colour, 2 classes; 10,000 to train, 2,000 to test",
        **_LOCAL,
    }


class Outline(NamedTuple):
    """What is known of a dataset before it is loaded."""

    image_shape: tuple[int, ...]
    classes: int
    train_images: int
    value_range: tuple[float, float] | None


def outline(name: str) -> Outline | None:
    """The outline of a dataset that has a name of its own; None for any other, and for images that were resized."""
    grey, colour = (1, 28, 28), (3, 32, 32)
    return {
        "digits": Outline((1, 8, 8), 10, 1_297, GREY.value_range),
        "two-circles": Outline((2,), 2, 2_000, None),
        "mnist": Outline(grey, 10, 60_000, GREY.value_range),
        "fashion-mnist": Outline(grey, 10, 60_000, GREY.value_range),
        "svhn": Outline(colour, 10, 73_257, COLOUR.value_range),
        "cifar10": Outline(colour, 10, 50_000, COLOUR.value_range),
        "cats-dogs": Outline(colour, 2, 10_000, COLOUR.value_range),
    }.get(name)


def load(
    name: str, data_root: Path, *, image_size: int | None = None, announce: Callable[[str], None] = print
) -> Dataset:
    """Loads a dataset; `announce` hears of a download before it starts.

    Args:
        name: one of `names()`, `npz:PATH` or `folder:PATH`.
        data_root: where downloaded datasets lie, in torchvision's layout.
        image_size: the side of the square that images are resized to; those of `folder:PATH` are also cropped.

    Raises:
        UsageError: unknown name; data that are missing, broken or unfit; an option without effect.
    """
    kind, _, path = name.partition(":")
    if image_size is not None and kind != "folder" and name not in _OFFICIAL:
        resized = ", ".join([*_OFFICIAL, "folder:PATH"])
        raise UsageError(f"--image-size has no effect on dataset {shorten(name)!r}; resized are {resized}.")
    if image_size is not None and not SMALLEST <= image_size <= LARGEST:
        raise UsageError(f"--image-size {image_size}: allowed are {SMALLEST} to {LARGEST}.")
    try:
        if kind in ("npz", "folder") and path:
            return load_npz(path) if kind == "npz" else load_folder(path, image_size, announce)
        if name in _GENERATED:
            return _GENERATED[name]()
        if name in _OFFICIAL:
            return _OFFICIAL[name](Path(os.path.expanduser(data_root)), announce, image_size)
    except OSError as error:  # a folder without permission, a failing disk
        raise UsageError(f"dataset {shorten(name)!r}: {shorten(error.filename, 300)}: {error.strerror}.") from error
    raise unknown("dataset", name, [*names(), *_LOCAL])
