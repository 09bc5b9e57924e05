"""Small datasets for the tests of this folder. Importing `bench` here sets MKL's mode before a test imports torch."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.datasets.dataset import Dataset, Part, Scale, assemble

MakeDataset = Callable[..., Dataset]


def _toy(labels: Sequence[int], extra: int = 0) -> Dataset:
    """One-pixel images numbered by their index, with the given training labels and `extra` images without any."""
    count = len(labels) + extra
    images = np.arange(count, dtype=np.float32)[:, None]
    names = [str(k) for k in range(max(labels) + 1)]
    test = Part(np.zeros((3, 1), np.float32), np.array([0, 1, 1]))
    train = Part(images[: len(labels)], np.array(labels))
    return assemble("toy", train, test, Scale(0.0, 1.0, None), names, images[len(labels) :] if extra else None)


@pytest.fixture(scope="session")
def toy() -> MakeDataset:
    return _toy


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of downloaded datasets."""
    root = os.environ.get("BENCH_DATA")
    if not root or not Path(root, "MNIST", "raw").is_dir():
        pytest.skip("needs MNIST: set BENCH_DATA to a data folder that has MNIST/raw")
    return Path(root)
