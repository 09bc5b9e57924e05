"""What is known of the named datasets without loading them is what loading them gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.datasets import Dataset, load, names, outline


def _facts(data: Dataset) -> tuple[object, ...]:
    return data.image_shape, data.classes, data.n_images, data.value_range


@pytest.mark.parametrize("name", ["digits", "two-circles"])
def test_generated_datasets(name: str) -> None:
    assert outline(name) == _facts(load(name, Path("unused")))


def test_mnist(data_root: Path) -> None:
    assert outline("mnist") == _facts(load("mnist", data_root))


def test_every_named_dataset_has_one_and_no_other_has() -> None:
    assert all(outline(name) for name in names())
    assert [outline(name) for name in ("mnist-16", "npz:digits", "folder:mnist", "")] == [None] * 4
