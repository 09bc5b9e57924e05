"""Which images a step sees, and in what order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.datasets import Dataset, make_split
from bench.errors import UsageError
from bench.streams import torch_generator
from bench.training import batches
from bench.training.batches import Batches, Sampler
from bench.variant import Draw, Examples

CPU = torch.device("cpu")
POOL_SIZES = st.integers(1, 40)
BATCH_SIZES = st.integers(1, 50)


def sampler(size: int, pool: int, order: Any, seed: int = 0) -> Sampler:
    return Sampler(Draw(size, "all", order), pool, torch_generator(CPU, seed, "batches", "x"))


# --- orders ---


@given(BATCH_SIZES, POOL_SIZES)
def test_tiled_shows_every_image_once_per_pass(size: int, pool: int) -> None:
    """Whatever the batch size, each stretch of `pool` positions is a permutation."""
    steps = -(-3 * pool // size)
    flat = sampler(size, pool, "tiled").take(steps).flatten()[: 3 * pool].reshape(3, pool)
    assert all(sorted(row) == list(range(pool)) for row in flat.tolist())


def test_tiled_shows_each_of_100_labels_once_in_a_batch_of_100() -> None:
    for row in sampler(100, 100, "tiled").take(5).tolist():
        assert sorted(row) == list(range(100))
    counts = Counter(sampler(100, 20, "tiled").take(1).flatten().tolist())
    assert set(counts.values()) == {5}


@given(BATCH_SIZES, POOL_SIZES)
def test_epoch_has_no_repeats_within_an_epoch_and_drops_the_ragged_end(size: int, pool: int) -> None:
    if size > pool:
        return
    per_epoch = pool // size
    taken = sampler(size, pool, "epoch").take(3 * per_epoch).reshape(3, per_epoch * size)
    assert all(len(set(row)) == per_epoch * size for row in taken.tolist())


def test_epochs_differ() -> None:
    first, second = sampler(10, 30, "epoch").take(6).reshape(2, 30)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(30))
    assert not torch.equal(first, second)


@given(st.integers(1, 10), st.integers(11, 50))
def test_a_batch_larger_than_the_pool_is_filled_with_whole_passes(pool: int, size: int) -> None:
    for order in ("tiled", "epoch"):
        batch = sampler(size, pool, order).take(1)[0]
        counts = np.bincount(batch.numpy(), minlength=pool)
        assert len(batch) == size
        assert counts.max() - counts.min() <= 1


def test_replacement_draws_independently() -> None:
    taken = sampler(50, 20, "replacement").take(40).flatten()
    counts = np.bincount(taken.numpy(), minlength=20)
    assert counts.sum() == 2000
    assert counts.min() > 60  # expected 100 each
    assert counts.max() < 140
    assert any(len(set(row)) < 10 for row in sampler(10, 20, "replacement").take(20).tolist())


def test_all_shows_the_whole_pool_in_order() -> None:
    assert sampler(1, 4, "all").take(2).tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("order", ["tiled", "epoch", "replacement", "all"])
def test_a_saved_sampler_goes_on_where_it_was(order: str) -> None:
    whole = sampler(7, 20, order).take(9)
    first = sampler(7, 20, order)
    begun = first.take(4)
    second = sampler(7, 20, order, seed=99)
    second.load_state_dict(first.state_dict())
    assert torch.equal(torch.cat([begun, second.take(5)]), whole)


@pytest.mark.parametrize("order", ["tiled", "epoch"])
def test_blocks_of_steps_change_nothing(order: str) -> None:
    at_once, piecewise = sampler(7, 20, order), sampler(7, 20, order)
    assert torch.equal(at_once.take(8), torch.cat([piecewise.take(n) for n in (1, 4, 3)]))


# --- batches ---


def make_batches(dataset: Dataset, draws: dict[str, Draw], seeds: tuple[int, ...] = (0,), budget: int = 20) -> Batches:
    splits = [make_split(dataset, seed=seed, budget=budget, selection="balanced") for seed in seeds]
    return Batches(draws, dataset, splits, seeds, CPU, dataset.train_images)


def test_pools(digits: Dataset) -> None:
    """Labelled, unlabelled, and both together; scaled images of the right places."""
    draws = {name: Draw(1, name, "all") for name in ("labelled", "unlabelled", "all")}  # type: ignore[arg-type]
    made = make_batches(digits, draws)
    split = made.splits[0]
    batch = made.next(1)
    assert isinstance(batch["labelled"], Examples)
    images = digits.train_images.numpy() / np.float32(16)
    assert np.array_equal(batch["labelled"].images[0].numpy(), images[split.labelled.indices])
    assert np.array_equal(batch["unlabelled"][0].numpy(), images[split.unlabelled])
    assert np.array_equal(batch["all"][0].numpy(), images)
    assert set(split.labelled.indices) & set(split.unlabelled) == set()
    assert len(batch["unlabelled"][0]) == 1297 - 20


def test_labels_belong_to_their_images(digits: Dataset) -> None:
    made = make_batches(digits, {"labelled": Draw(30, "labelled", "tiled")})
    images, labels = made.next(1)["labelled"]
    truth = {}
    for label, members in enumerate(digits.vault.by_class()):
        truth |= {digits.train_images[i].numpy().tobytes(): label for i in members}
    stored = (images[0] * 16).to(torch.uint8)
    assert [truth[image.numpy().tobytes()] for image in stored] == labels[0].tolist()


def test_labels_are_counted_as_they_are_read(digits: Dataset) -> None:
    made = make_batches(digits, {"labelled": Draw(3, "labelled", "tiled"), "x": Draw(3, "all")}, budget=100)
    assert made.splits[0].labelled.touched == 0
    for _ in range(2):
        made.next(2)  # the two remaining steps bound what is read ahead
    assert made.splits[0].labelled.touched == 6


def test_runs_draw_alone_what_they_draw_together(digits: Dataset) -> None:
    draws = {"labelled": Draw(4, "labelled", "tiled"), "unlabelled": Draw(9, "all")}
    together = make_batches(digits, draws, (3, 8)).next(5)
    for row, seed in enumerate((3, 8)):
        alone = make_batches(digits, draws, (seed,)).next(5)
        assert torch.equal(together["labelled"].images[row], alone["labelled"].images[0])
        assert torch.equal(together["unlabelled"][row], alone["unlabelled"][0])
    assert not torch.equal(together["unlabelled"][0], together["unlabelled"][1])


def test_a_further_draw_moves_no_other(digits: Dataset) -> None:
    draws = {"unlabelled": Draw(9, "all")}
    few, many = make_batches(digits, draws), make_batches(digits, {"first": Draw(5, "all"), **draws})
    few_images, many_images = few.next(3)["unlabelled"], many.next(3)["unlabelled"]
    assert torch.equal(few_images, many_images)
    assert not torch.equal(many.block["first"][0, 0], many.block["unlabelled"][0, 0, :5])  # and is independent of it


def test_block_size_changes_nothing(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = {"labelled": Draw(4, "labelled", "tiled"), "unlabelled": Draw(300, "all")}
    seen = []
    for block in (1, 3, 64):
        monkeypatch.setattr(batches, "BLOCK", block)
        made = make_batches(digits, draws)
        seen.append([made.next(7 - step)["unlabelled"] for step in range(7)])
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*seen, strict=True))


def test_a_pool_without_images_is_refused(digits: Dataset) -> None:
    with pytest.raises(UsageError, match="no image to draw from"):
        make_batches(digits, {"u": Draw(4, "unlabelled")}, budget=1297)
