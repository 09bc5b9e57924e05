"""Typical images: near their class's centres, as many per class as possible, the same for every seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.datasets import Dataset, load, make_split
from bench.datasets.dataset import GREY, Part, assemble
from bench.datasets.prototypes import prototypes


@pytest.fixture(scope="module")
def clouds() -> Dataset:
    """Two classes, each of three tight clouds of 20 images; the first image of each cloud is its centre."""
    rng = np.random.default_rng(0)
    centres = rng.integers(40, 200, (6, 1, 4, 4))
    noise = rng.integers(-12, 13, (6, 20, 1, 4, 4))
    noise[:, 0] = 0
    images = (centres[:, None] + noise).astype(np.uint8).reshape(120, 1, 4, 4)
    labels = np.repeat([0, 0, 0, 1, 1, 1], 20)
    return assemble("clouds", Part(images, labels), Part(images, labels), GREY, ("a", "b"))


def test_centres_of_clouds_are_found(clouds: Dataset) -> None:
    chosen = prototypes(clouds, 6)
    assert sorted(i // 20 for i in chosen.tolist()) == [0, 1, 2, 3, 4, 5]
    distance = (
        clouds.train_images.float().view(6, 20, -1) - clouds.train_images.float().view(6, 20, -1).mean(1, True)
    ).norm(dim=2)
    rank = distance.argsort(1).argsort(1).flatten()[torch.from_numpy(chosen)]
    assert rank.max() <= 2  # among the nearest to the mean of its cloud


@pytest.mark.parametrize("budget", [10, 20, 23])
def test_budgets_are_balanced_and_the_same_for_every_seed(budget: int) -> None:
    digits = load("digits", Path("unused"))
    splits = [make_split(digits, seed=seed, budget=budget, selection="prototypes") for seed in (0, 1)]
    first, second = (split.labelled.indices for split in splits)
    assert first.tolist() == second.tolist()
    assert len(set(first.tolist())) == budget
    counts = np.bincount(splits[0].labelled.read(np.arange(budget)), minlength=10)
    assert counts.max() - counts.min() <= 1
    assert splits[0].labelled.hash == splits[1].labelled.hash
    assert not set(first.tolist()) & set(splits[0].unlabelled.tolist())


def test_a_validation_set_leaves_them_alone() -> None:
    digits = load("digits", Path("unused"))
    split = make_split(digits, seed=0, budget=20, selection="prototypes", validation=100)
    assert not set(split.labelled.indices.tolist()) & set(split.validation_indices.tolist())
