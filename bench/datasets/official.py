"""MNIST, Fashion-MNIST, SVHN and CIFAR-10 (and its cats and dogs) in torchvision's layout of the data folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench.datasets.arrays import read_npz
from bench.datasets.dataset import COLOUR, GREY, Array, Dataset, Part, Scale, assemble
from bench.datasets.download import Download, obtain
from bench.datasets.generated import DIGIT_NAMES
from bench.errors import UsageError, shorten

Announce = Callable[[str], None]

# torchvision checks what it downloads, but not the unpacked files that it finds in the data folder
MNIST_MD5 = {
    "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
FASHION_MNIST_MD5 = {
    "FashionMNIST/raw/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "FashionMNIST/raw/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "FashionMNIST/raw/t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "FashionMNIST/raw/t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
CIFAR_SCALE = Scale(127.5, 128.0, (-1.0, 1.0))
CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_mnist(data_root: Path, announce: Announce, size: int | None = None) -> Dataset:
    """uint8 `[60000, 1, 28, 28]` and `[10000, 1, 28, 28]`."""
    from torchvision.datasets import MNIST

    host = "ossci-datasets.s3.amazonaws.com"
    download = Download("mnist", 12, host, MNIST_MD5, partial(MNIST, download=True))
    return _load_idx(download, data_root, announce, DIGIT_NAMES, size)


def load_fashion_mnist(data_root: Path, announce: Announce, size: int | None = None) -> Dataset:
    """uint8 `[60000, 1, 28, 28]` and `[10000, 1, 28, 28]`."""
    from torchvision.datasets import FashionMNIST

    host = "fashion-mnist.s3-website.eu-central-1.amazonaws.com"
    download = Download("fashion-mnist", 31, host, FASHION_MNIST_MD5, partial(FashionMNIST, download=True))
    return _load_idx(download, data_root, announce, FashionMNIST.classes, size)


def _load_idx(
    download: Download, data_root: Path, announce: Announce, class_names: Sequence[str], size: int | None
) -> Dataset:
    """Reads the raw files themselves: torchvision's class would prefer unchecked files of an older layout."""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    obtain(download, data_root, announce)
    images, labels, test_images, test_labels = (str(data_root / name) for name in download.files)
    train = Part(read_image_file(images).numpy()[:, None], read_label_file(labels).numpy())
    test = Part(read_image_file(test_images).numpy()[:, None], read_label_file(test_labels).numpy())
    return _sized(download.dataset, train, test, GREY, class_names, size)


def load_svhn(data_root: Path, announce: Announce, size: int | None = None) -> Dataset:
    """uint8 `[73257, 3, 32, 32]` and `[26032, 3, 32, 32]`; torchvision turns the file's label 10 into 0."""
    from torchvision.datasets import SVHN

    def fetch(root: Path) -> None:
        for split in ("train", "test"):
            SVHN(root, split=split, download=True)

    files = {name: md5 for _, name, md5 in (SVHN.split_list[split] for split in ("train", "test"))}
    obtain(Download("svhn", 246, "ufldl.stanford.edu", files, fetch), data_root, announce)
    parts = [SVHN(data_root, split=split) for split in ("train", "test")]
    train, test = (Part(part.data, part.labels) for part in parts)
    return _sized("svhn", train, test, COLOUR, DIGIT_NAMES, size)


def load_cifar10(data_root: Path, announce: Announce, size: int | None = None) -> Dataset:
    """uint8 `[50000, 3, 32, 32]` and `[10000, 3, 32, 32]`, from `cifar10.npz` where the data folder has one."""
    return _sized("cifar10", *_cifar(data_root, announce), CIFAR_SCALE, CIFAR_NAMES, size)


def load_cats_dogs(data_root: Path, announce: Announce, size: int | None = None) -> Dataset:
    """The cats and dogs of CIFAR-10: uint8 `[10000, 3, 32, 32]` and `[2000, 3, 32, 32]`."""
    pair = [CIFAR_NAMES.index(name) for name in ("cat", "dog")]
    train, test = (
        Part(part.images[mask], np.searchsorted(pair, part.labels[mask]))
        for part in _cifar(data_root, announce)
        for mask in [np.isin(part.labels, pair)]
    )
    return _sized("cats-dogs", train, test, COLOUR, ("cat", "dog"), size)


def _cifar(data_root: Path, announce: Announce) -> tuple[Part, Part]:
    archive = data_root / "cifar10.npz"
    return _cifar_npz(archive) if os.path.exists(archive) else _cifar_batches(data_root, announce)


def _sized(name: str, train: Part, test: Part, scale: Scale, class_names: Sequence[str], size: int | None) -> Dataset:
    """The dataset; its images resized to `size x size`, which its name then says, where a size is given."""
    if size is None:
        return assemble(name, train, test, scale, class_names)
    small, small_test = (Part(_resized(part.images, size), part.labels) for part in (train, test))
    return assemble(f"{name}-{size}", small, small_test, scale, class_names)


def _resized(images: Array, size: int) -> Array:
    """Bilinear, uint8 `[n, channels, size, size]`."""
    from torchvision.transforms.functional import resize

    pieces = torch.from_numpy(np.ascontiguousarray(images)).split(5000)
    return torch.cat([resize(piece, [size, size], antialias=True) for piece in pieces]).numpy()


def _cifar_npz(path: Path) -> tuple[Part, Part]:
    arrays = read_npz(path)
    images = arrays.train.images
    shaped = images.dtype == np.uint8 and images.shape[1:] == (3, 32, 32)
    if not shaped or arrays.classes != 10 or arrays.unlabelled is not None:
        raise UsageError(
            f"{shorten(path, 300)}: not CIFAR-10, which has uint8 images [n, 32, 32, 3], labels 0 to 9, and no "
            f"x_unlabelled. Name other data as npz:{shorten(path, 300)}."
        )
    return arrays.train, arrays.test


def _cifar_batches(data_root: Path, announce: Announce) -> tuple[Part, Part]:
    from torchvision.datasets import CIFAR10

    listed = [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]
    files = {f"{CIFAR10.base_folder}/{name}": md5 for name, md5 in listed}
    download = Download("cifar10", 170, "www.cs.toronto.edu", files, partial(CIFAR10, download=True))
    obtain(download, data_root, announce)
    parts = [CIFAR10(data_root, train=train) for train in (True, False)]
    train, test = (Part(part.data.transpose(0, 3, 1, 2), np.array(part.targets)) for part in parts)
    return train, test
