"""Datasets in a folder of images: `folder:PATH`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.datasets.arrays import fitting_scale
from bench.datasets.dataset import Array, Dataset, Part, assemble
from bench.errors import UsageError, shorten

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
SMALLEST, LARGEST = 4, 1024  # allowed --image-size
LAYOUT = "It holds train/CLASS/* and test/CLASS/* and may hold unlabelled/* (png, jpg, jpeg or webp)."


def load_folder(text: str, image_size: int | None, announce: Callable[[str], None]) -> Dataset:
    """A dataset from the folder at the path `text`, called `folder:` and the folder's name.

    Classes are the sub-folders of `train`, in alphabetical order. Images are uint8, grey `[n, 1, height, width]` if all
    of them are grey, else `[n, 3, height, width]`. `image_size` resizes the shorter side and crops the centre.

    Raises:
        UsageError: the folder's layout or an image is unfit.
    """
    root = Path(os.path.expanduser(text))
    if not os.path.isdir(root):  # unlike Path.is_dir it accepts any text
        raise UsageError(f"dataset folder {shorten(root, 300)}: no such folder. {LAYOUT}")
    classes = _classes(root)
    train, y_train = _labelled(root / "train", classes)
    test, y_test = _labelled(root / "test", classes)
    extra = _files(root / "unlabelled") if (root / "unlabelled").is_dir() else []
    _mention_others(root, announce)
    images = _stack([*train, *test, *extra], image_size)
    x_train, x_test, x_extra = np.split(images, [len(train), len(train) + len(test)])
    return assemble(
        f"folder:{root.resolve().name}",
        Part(x_train, y_train),
        Part(x_test, y_test),
        fitting_scale(images),
        classes,
        x_extra if extra else None,
    )


def _classes(root: Path) -> list[str]:
    """The names of the classes: at least two, and every test class among them."""
    train, test = _folders(root / "train"), _folders(root / "test")
    if len(train) < 2:
        raise UsageError(
            f"dataset folder {shorten(root / 'train', 300)}: {len(train)} classes; it needs at least 2. {LAYOUT}"
        )
    if strangers := sorted(set(test) - set(train)):
        raise UsageError(
            f"dataset folder {shorten(root, 300)}: test class {shorten(strangers[0])!r} has no folder in train, "
            f"which has {shorten(', '.join(train), 200)}."
        )
    if not test:
        raise UsageError(f"dataset folder {shorten(root / 'test', 300)}: no classes. {LAYOUT}")
    return train


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _labelled(folder: Path, classes: list[str]) -> tuple[list[Path], Array]:
    """The image files of all classes that have a folder, and their labels `[n]`."""
    found = {k: _files(folder / name) for k, name in enumerate(classes) if (folder / name).is_dir()}
    files = [path for paths in found.values() for path in paths]
    return files, np.repeat(list(found), [len(paths) for paths in found.values()])


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.name[0] != ".")
    if not files:
        raise UsageError(f"dataset folder {shorten(folder, 300)}: no images. {LAYOUT}")
    return files


def _mention_others(root: Path, announce: Callable[[str], None]) -> None:
    """Says how many files were left out, lest images of another format be missed in silence."""
    patterns = ("train/*/*", "test/*/*", "unlabelled/*")
    files = [path for pattern in patterns for path in root.glob(pattern) if path.name[0] != "."]
    others = [path for path in files if path.suffix.lower() not in ENDINGS]
    if others:
        announce(
            f"{shorten(root, 300)}: left out {len(others)} that are no png, jpg, jpeg or webp, such as {others[0].name}"
        )


def image_files(folder: Path) -> list[Path]:
    """All images below a folder, in the order of their paths.

    Raises:
        UsageError: there is no such folder, or it holds no image.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"folder {shorten(folder, 300)}: no such folder.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.name[0] != ".")
    if not files:
        raise UsageError(f"folder {shorten(folder, 300)}: no images ({', '.join(ENDINGS)}).")
    return files


def read_images(files: list[Path], shape: tuple[int, ...], brightest: float) -> Tensor:
    """Images as a classifier for `shape` (channels, height, width) expects them stored: float32 `[n, *shape]`.

    Each is resized, not cropped; pixels are rescaled from 0..255 to 0..`brightest`.
    """
    from torchvision.transforms.functional import resize

    channels, height, width = shape
    found = []
    for path in files:
        image = torch.from_numpy(_read(path, None, "L" if channels == 1 else "RGB").copy())
        image = image[None] if channels == 1 else image.permute(2, 0, 1)
        if image.shape[1:] != (height, width):
            image = resize(image, [height, width], antialias=True)
        found.append(image.float() * (brightest / 255))
    return torch.stack(found)


def _stack(files: list[Path], image_size: int | None) -> Array:
    """All images `[n, 1 or 3, height, width]`."""
    images = [_read(path, image_size) for path in files]
    for path, image in zip(files, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            raise UsageError(
                f"dataset folder: images differ in size ({shorten(files[0], 300)}: {_size(images[0])}; "
                f"{shorten(path, 300)}: {_size(image)}). Give --image-size N to bring them to N x N pixels."
            )
    if any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.stack([image] * 3, axis=2) for image in images]
        return np.stack(images).transpose(0, 3, 1, 2)
    return np.stack(images)[:, None]


def _read(path: Path, image_size: int | None, mode: str | None = None) -> Array:
    """One image, turned as its EXIF data say: `[height, width]` if it is grey (or to be, `L`), else `[..., 3]`."""
    from PIL import Image, ImageOps
    from torchvision.transforms.functional import center_crop, resize

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith(("I", "F")):
                raise UsageError(f"image {shorten(path, 300)}: more than 8 bits per channel are not supported.")
            image = image.convert(mode or ("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UsageError(f"image {shorten(path, 300)}: cannot be read ({shorten(error)}).") from error
    if image_size is not None:
        image = center_crop(resize(image, [image_size]), [image_size])
    return np.asarray(image)


def _size(image: Array) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
