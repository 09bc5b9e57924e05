import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from bench.datasets import describe, load, names
from bench.errors import UsageError

NOWHERE = Path("unused")


def silent(message: str) -> None:
    raise AssertionError(f"nothing to announce, but: {message}")


def test_digits_are_scikit_learns_with_its_stratified_split() -> None:
    digits = load("digits", NOWHERE, announce=silent)
    images, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(images, labels, test_size=500, stratify=labels, random_state=0)
    assert (digits.n_train, digits.n_images, digits.n_test, digits.classes) == (1297, 1297, 500, 10)
    assert digits.image_shape == (1, 8, 8)
    assert digits.train_images.dtype == torch.uint8
    assert np.array_equal(digits.train_images.reshape(-1, 64).numpy(), x_train)
    assert np.array_equal(digits.test_images.reshape(-1, 64).numpy(), x_test)
    assert np.array_equal(digits.vault.open(np.arange(1297)).read(np.arange(1297)), y_train)
    assert digits.examiner.wrong(torch.from_numpy(y_test)).item() == 0


def test_digits_are_scaled_by_16() -> None:
    digits = load("digits", NOWHERE)
    scaled = digits.scale(digits.train_images)
    assert scaled.dtype == torch.float32
    assert digits.value_range == (scaled.min().item(), scaled.max().item()) == (0.0, 1.0)
    assert np.array_equal(scaled[0].numpy(), digits.train_images[0].numpy() / 16)


def test_content_of_digits_never_changes() -> None:
    """Every split of digits and every run id hangs on it."""
    expected = "a87a7895cd714445384ad1bd4770f81ecb9887f76b50f7d56435d72e1d3f0b45"
    assert load("digits", NOWHERE).content_hash == expected


def test_content_hash_is_sha256_of_scale_types_shapes_and_bytes() -> None:
    digits = load("digits", NOWHERE)
    images, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(images, labels, test_size=500, stratify=labels, random_state=0)
    parts = [b"[0.0, 16.0]"]
    for n, x, y in ((1297, x_train, y_train), (500, x_test, y_test)):
        parts += [f'["|u1", [{n}, 1, 8, 8]]'.encode(), x.astype("u1").tobytes()]
        parts += [f'["<i8", [{n}]]'.encode(), y.astype("<i8").tobytes()]
    assert digits.content_hash == hashlib.sha256(b"".join(parts)).hexdigest()


def test_two_circles_lie_around_their_radii() -> None:
    circles = load("two-circles", NOWHERE, announce=silent)
    assert (circles.n_train, circles.n_test, circles.classes) == (2000, 10_000, 2)
    assert circles.image_shape == (2,)
    assert circles.value_range is None
    assert circles.train_images.dtype == torch.float32
    radii = circles.test_images.norm(dim=1)
    for k, radius in ((0, 1.0), (1, 0.5)):
        others = circles.examiner.wrong(torch.full((10_000,), k))
        assert others.item() == 5000
        near = radii[(radii - radius).abs() < 0.25]
        assert abs(near.mean().item() - radius) < 0.005
        assert abs(near.std().item() - 0.055) < 0.005
    assert circles.examiner.wrong((radii < 0.75).long()).item() < 5
    assert not torch.equal(circles.train_images, circles.test_images[:2000])


def test_every_name_has_one_line() -> None:
    lines = describe()
    assert names() == ["digits", "two-circles", "mnist", "fashion-mnist", "svhn", "cifar10", "cats-dogs"]
    assert set(lines) == {*names(), "npz:PATH", "folder:PATH"}
    assert not [line for line in lines.values() if "\n" in line or not line]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mnits", "Did you mean 'mnist'"),
        ("npz", "npz:PATH"),
        ("folder:", "folder:PATH"),
        ("", "Allowed"),
        ("d" * 9999, ""),
    ],
)
def test_unknown_names(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match="unknown dataset") as caught:
        load(name, NOWHERE)
    assert meant in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("size", [0, 3, 1025])
def test_image_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"--image-size {size}: allowed are 4 to 1024"):
        load("mnist", NOWHERE, image_size=size)


@pytest.mark.parametrize("name", ["digits", "two-circles", "npz:x.npz"])
def test_image_size_is_refused_where_it_has_no_effect(name: str) -> None:
    with pytest.raises(UsageError, match="--image-size has no effect"):
        load(name, NOWHERE, image_size=32)
