"""Labelled images picked for being typical: a reproducible stand-in for picking them by hand."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np

from bench.datasets.dataset import Dataset
from bench.datasets.firewall import Indices

COMPONENTS = 50  # of the PCA, at most
FITTED = 10_000  # images that the PCA is fitted to


@lru_cache(maxsize=8)
def prototypes(dataset: Dataset, budget: int) -> Indices:
    """The images nearest to the k-means centres of their class, in PCA space: `[budget]`, the same for every seed.

    Each class gets `budget // K` centres, the first ones one more. Whoever picks by hand looks at all labels, and so
    does this: tables mark what rests on it.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    classes = dataset.vault.by_class()
    images = dataset.train_images.flatten(1).numpy().astype(np.float32)
    counts = _counts([len(members) for members in classes], budget)
    chosen: list[int] = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct images than centres
        dimensions = min(COMPONENTS, images.shape[1], len(images))
        pca = PCA(dimensions, svd_solver="full").fit(images[np.linspace(0, len(images) - 1, FITTED).astype(int)])
        for members, count in zip(classes, counts, strict=True):
            points = pca.transform(images[members])
            if count:
                centres = KMeans(count, n_init=1, random_state=0).fit(points).cluster_centers_
                chosen += members[_nearest(points, centres)].tolist()
    return np.array(chosen, dtype=np.int64)


def _counts(sizes: list[int], budget: int) -> list[int]:
    """How many images each class gets: in turns, classes that have no more are skipped."""
    counts = [0] * len(sizes)
    while sum(counts) < budget:
        for k, size in enumerate(sizes):
            if counts[k] < size and sum(counts) < budget:
                counts[k] += 1
    return counts


def _nearest(points: np.ndarray, centres: np.ndarray) -> Indices:
    """For each centre the nearest point that no earlier centre has taken."""
    free = np.ones(len(points), dtype=bool)
    found = []
    for centre in centres:
        distance = np.where(free, ((points - centre) ** 2).sum(1), np.inf)
        found.append(int(distance.argmin()))
        free[found[-1]] = False
    return np.array(found, dtype=np.int64)
