"""Which training images are labelled, held out for validation, or unlabelled in a run.

A split depends on the dataset's content and the seed, never on the variant, and a smaller budget's labelled set is the
beginning of a larger one's: comparisons are paired by seed and budgets are nested.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.datasets.dataset import Dataset
from bench.datasets.firewall import Examiner, Indices, LabelledSet
from bench.datasets.prototypes import prototypes
from bench.datasets.selections import SELECTIONS, file_selection, parse_budgets, read_index_file, selection_name
from bench.errors import UsageError, shorten, unknown
from bench.streams import numpy_generator

__all__ = ["Split", "make_split", "parse_budgets", "read_index_file", "selection_name"]


@dataclass(frozen=True, eq=False)
class Split:
    """The three disjoint parts of one run's training images."""

    labelled: LabelledSet
    validation: Examiner | None  # of the images `validation_indices`, in that order
    validation_indices: Indices
    unlabelled: Indices  # ascending; images that never had a label included


def make_split(
    dataset: Dataset,
    *,
    seed: int,
    budget: int,
    selection: str,
    validation: int = 0,
    unlabelled: int | None = None,
    index_file: Path | None = None,
) -> Split:
    """Draws the split of a run.

    Args:
        selection: `balanced` (every class as often as possible), `random`, `first` (the order of the file),
            `prototypes` (typical images, the same for every seed, not nested), or `file:HASH` (the order of
            `index_file`, the same for every seed).
        validation: so many labelled images are held out. They change no labelled set.
        unlabelled: cap on the unlabelled pool; None: all images outside the labelled and validation sets.

    Raises:
        UsageError: there are too few images for these numbers, or the index file is unfit.
    """
    if not 1 <= budget <= dataset.n_train:
        raise UsageError(f"label budget {budget}: {dataset.name} has 1 to {dataset.n_train} labels to give.")
    if validation < 0:
        raise UsageError(f"--validation {validation}: allowed are 0 and larger numbers.")
    order, tail = _orders(dataset, seed, budget, selection, index_file)
    if budget > len(order):
        raise UsageError(f"index file {shorten(index_file)} has {len(order)} entries, fewer than the budget {budget}.")
    labelled = order[:budget]
    spare = tail[~np.isin(tail, labelled)]
    if validation > len(spare):
        raise UsageError(
            f"--validation {validation}: {dataset.name} has {dataset.n_train} labelled training images, "
            f"of which {len(spare)} remain beside a label budget of {budget}."
        )
    held_out = spare[:validation]
    pool = np.setdiff1d(np.arange(dataset.n_images), np.concatenate([labelled, held_out]))
    return Split(
        labelled=dataset.vault.open(labelled),
        validation=Examiner.for_validation(dataset.vault, held_out) if validation else None,
        validation_indices=held_out,
        unlabelled=pool if unlabelled is None else _capped(dataset, seed, pool, unlabelled),
    )


def _orders(
    dataset: Dataset, seed: int, budget: int, selection: str, index_file: Path | None
) -> tuple[Indices, Indices]:
    """The order in which labelled images are taken, and the one in which validation images are."""
    rng = numpy_generator(seed, "split", dataset.content_hash)
    if selection == "balanced":
        return _balanced(dataset, rng)
    if selection == "random":
        order = _permuted(np.arange(dataset.n_train), rng)
        return order, order[::-1]
    if selection == "first":
        order = np.arange(dataset.n_train)
        return order, order[::-1]
    if selection == "prototypes":
        picked, tail = prototypes(dataset, budget), _balanced(dataset, rng)[1]
        return picked, tail[~np.isin(tail, picked)]
    if selection.startswith("file:") and index_file is not None:
        listed, tail = _listed(dataset, selection, index_file), _balanced(dataset, rng)[1]
        return listed, tail[~np.isin(tail, listed)]
    raise unknown("label selection", selection, SELECTIONS, "Or the path of an index file.")


def _balanced(dataset: Dataset, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Each class is permuted, then the classes take turns in a seeded order; exhausted classes are skipped.

    Validation images are taken in the same turns from the far ends of the classes' permutations. The far end of the
    order itself would not do: where classes differ in size it holds the largest ones only (the last 1,000 images of
    MNIST would show three digits).
    """
    classes = dataset.vault.by_class()
    turns = _permuted(np.arange(len(classes)), rng)
    permuted = [_permuted(members, rng) for members in classes]
    ahead = [permuted[k] for k in turns]
    return _interleaved(ahead), _interleaved([members[::-1] for members in ahead])


def _interleaved(lists: list[Indices]) -> Indices:
    """The first entry of each list, the second of each, and so on."""
    rounds = np.concatenate([np.arange(len(members)) for members in lists])
    return np.concatenate(lists)[np.argsort(rounds, kind="stable")]


def _permuted(values: Indices, rng: np.random.Generator) -> Indices:
    """A random permutation that stays the same across versions of NumPy, unlike `rng.permutation`."""
    return values[np.argsort(rng.random(len(values)), kind="stable")]


def _listed(dataset: Dataset, selection: str, index_file: Path) -> Indices:
    """The order of an index file, checked against the dataset."""
    order = read_index_file(index_file)
    if file_selection(index_file) != selection:
        raise UsageError(f"index file {shorten(index_file)} has changed since the grid was made; run it again.")
    outside = order[order >= dataset.n_train]
    if len(outside):
        raise UsageError(
            f"index file {shorten(index_file)}: {outside[0]} is out of range; "
            f"the labelled images of {dataset.name} are 0 to {dataset.n_train - 1}."
        )
    return order


def _capped(dataset: Dataset, seed: int, pool: Indices, size: int) -> Indices:
    """The first `size` of the pool in a seeded order of all images, so that capped pools hardly vary by budget."""
    if not 1 <= size <= len(pool):
        raise UsageError(f"--unlabelled {size}: allowed are 1 to {len(pool)}, the images outside the labelled set.")
    keys = numpy_generator(seed, "pool", dataset.content_hash).random(dataset.n_images)[pool]
    return np.sort(pool[np.argsort(keys, kind="stable")[:size]])
