"""Datasets that need no download: scikit-learn's digits and two circles."""

from __future__ import annotations

import numpy as np

from bench.datasets.dataset import Dataset, Part, Scale, assemble

DIGIT_NAMES = tuple("0123456789")


def load_digits() -> Dataset:
    """1,797 handwritten digits, uint8 `[n, 1, 8, 8]` with values 0 to 16; 1,297 to train and 500 to test."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    source = datasets.load_digits()
    images = source.images.astype(np.uint8)[:, None]
    x_train, x_test, y_train, y_test = train_test_split(
        images, source.target, test_size=500, stratify=source.target, random_state=0
    )
    scale = Scale(0.0, 16.0, (0.0, 1.0))
    return assemble("digits", Part(x_train, y_train), Part(x_test, y_test), scale, DIGIT_NAMES)


def load_two_circles() -> Dataset:
    """Two noisy circles of radius 1 and 0.5 around the origin, float32 `[n, 2]`; 2,000 to train and 10,000 to test."""
    scale = Scale(0.0, 1.0, None)
    return assemble("two-circles", _circles(2_000, 0), _circles(10_000, 1), scale, ("outer", "inner"))


def _circles(n: int, random_state: int) -> Part:
    from sklearn.datasets import make_circles

    points, labels = make_circles(n, factor=0.5, noise=0.055, random_state=random_state)
    return Part(points.astype(np.float32), labels)
