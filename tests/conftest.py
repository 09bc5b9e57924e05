"""What all tests share. `bench` comes before torch: it sets how MKL rounds."""

from __future__ import annotations

import bench

# isort: split
import os
from pathlib import Path

import hypothesis
import pytest
import torch

from bench.datasets import Dataset, load

assert bench.__version__
hypothesis.settings.register_profile("bench", deadline=None, max_examples=50)
hypothesis.settings.load_profile("bench")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """1,297 training and 500 test images, uint8 `[1, 8, 8]`, 10 classes."""
    return load("digits", Path("unused"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of downloaded datasets."""
    root = os.environ.get("BENCH_DATA")
    if not root or not Path(root, "MNIST", "raw").is_dir():
        pytest.skip("needs MNIST: set BENCH_DATA to a data folder that has MNIST/raw")
    return Path(root)
