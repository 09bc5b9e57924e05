"""The label firewall: who may see which label.

Three objects hold labels, and none of them has a public attribute with labels in it. `LabelVault` keeps those of the
training set; only the splits look inside. `LabelledSet` is all that training ever gets of them: the labels of one run's
budget, with a record of which were read. `Examiner` keeps the labels of a test (or validation) set and tells nothing
but the number of wrong predictions.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Indices = NDArray[np.int64]


class FirewallError(RuntimeError):
    """The program asked for a label that it may not see: a defect of the program, never of the user's input."""


class LabelVault:
    """The labels of the labelled training images."""

    def __init__(self, labels: ArrayLike) -> None:
        self._labels: Indices = np.array(labels, dtype=np.int64)  # [n], classes 0..K-1
        self._labels.setflags(write=False)

    def __len__(self) -> int:
        return len(self._labels)

    def class_counts(self) -> Indices:
        """Images per class `[K]`."""
        return np.bincount(self._labels).astype(np.int64)

    def by_class(self) -> list[Indices]:
        """Per class the indices of its images, ascending. For splitting only."""
        return [np.flatnonzero(self._labels == k).astype(np.int64) for k in range(len(self.class_counts()))]

    def open(self, indices: ArrayLike) -> LabelledSet:
        """The labelled set of one run.

        Raises:
            FirewallError: an index has no label, or is given twice.
        """
        chosen = _within(indices, len(self), "training labels")
        if len(np.unique(chosen)) < len(chosen):
            raise FirewallError("a labelled set must not name an image twice")
        return LabelledSet(chosen, self._labels[chosen])

    def poisoned(self, keep: ArrayLike, rng: np.random.Generator) -> LabelVault:
        """A copy in which every label outside `keep` is wrong: a run on it must give the same bits."""
        kept = _within(keep, len(self), "training labels")
        classes = len(self.class_counts())
        labels = (self._labels + rng.integers(1, classes, size=len(self))) % classes
        labels[kept] = self._labels[kept]
        return LabelVault(labels)


class LabelledSet:
    """The labels that one run may see: those of the training images `indices [n]`."""

    def __init__(self, indices: ArrayLike, labels: ArrayLike) -> None:
        self.indices: Indices = np.array(indices, dtype=np.int64)
        self.indices.setflags(write=False)
        self._labels: Indices = np.array(labels, dtype=np.int64)
        self._touched = np.zeros(len(self.indices), dtype=bool)

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, positions: ArrayLike) -> Indices:
        """Labels at `positions` of this set (0..n-1, not indices of images), in any shape; marks them as touched.

        Raises:
            FirewallError: a position lies outside the set.
        """
        wanted = _within(positions, len(self), "labelled set")
        self._touched[wanted] = True
        return self._labels[wanted]

    @property
    def touched(self) -> int:
        """How many distinct labels have been read."""
        return int(self._touched.sum())

    @property
    def touched_positions(self) -> Indices:
        """The positions of the labels that have been read, ascending."""
        return np.flatnonzero(self._touched).astype(np.int64)

    @property
    def hash(self) -> str:
        """SHA-256 of the list of indices, in its order."""
        return hashlib.sha256(self.indices.astype("<i8").tobytes()).hexdigest()


def spread(n: int, m: int) -> Tensor:
    """Positions `[m]` of m of n images, evenly spread: files sorted by class must not put one class alone to the test.

    Raises:
        FirewallError: there are fewer than m images.
    """
    if m > n:
        raise FirewallError(f"{m} predictions for {n} images")
    return torch.arange(m) * n // max(m, 1)


class Examiner:
    """Compares predictions with labels that nobody else sees."""

    def __init__(self, labels: ArrayLike) -> None:
        self._labels = torch.from_numpy(np.array(labels, dtype=np.int64))
        self._chosen: dict[tuple[int, torch.device], Tensor] = {}  # labels of so many images, where they are wanted

    @classmethod
    def for_validation(cls, vault: LabelVault, indices: ArrayLike) -> Examiner:
        """An examiner of the training images `indices [n]`, in that order."""
        return cls(vault._labels[_within(indices, len(vault), "training labels")])

    @property
    def n(self) -> int:
        return len(self._labels)

    def wrong(self, predictions: Tensor) -> Tensor:
        """The number of wrong classes `[...]` among predictions `[..., m]` of the images `spread(n, m)`.

        Stays on the predictions' device and does not wait for it (the labels are copied there once).
        """
        m, device = predictions.shape[-1], predictions.device
        positions = spread(self.n, m)
        if predictions.is_floating_point():
            raise FirewallError("predictions must be class numbers, not scores")
        if (m, device) not in self._chosen:
            self._chosen[m, device] = self._labels[positions].to(device)
        return (predictions != self._chosen[m, device]).sum(dim=-1)


def _within(positions: ArrayLike, size: int, what: str) -> Indices:
    """The positions as int64; an error unless they are integers in 0..size-1 (NumPy would let negative ones wrap)."""
    array: NDArray[Any] = np.asarray(positions)
    if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= size):
        raise FirewallError(f"positions outside the {what} (0..{size - 1})")
    return array.astype(np.int64)
