"""Minibatches by hand: what each order promises, and a batch that is made as it is asked for."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from bench.datasets import Dataset, make_split
from bench.speed.minibatches import Batch, Minibatches, Pool, pool_of
from bench.variant import Draw

CPU = torch.device("cpu")


def drawn(order: Literal["tiled", "epoch", "replacement", "all"], size: int, pool: int, times: int) -> list[list[int]]:
    source = Minibatches(Draw(size, "unlabelled", order), Pool(torch.arange(pool), None))
    return [source.next().tolist() for _ in range(times)]


def test_tiled_batches_use_every_position_equally() -> None:
    flat = [position for batch in drawn("tiled", 4, 10, 5) for position in batch]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))


def test_epochs_drop_their_ragged_end() -> None:
    batches = drawn("epoch", 4, 10, 40)
    assert all(len(set(a + b)) == 8 for a, b in zip(batches[::2], batches[1::2], strict=True))
    assert any(set(batches[1]) & set(b) for b in batches[2:4])


def test_a_batch_larger_than_its_pool_is_tiled() -> None:
    assert sorted(drawn("epoch", 6, 3, 1)[0]) == [0, 0, 1, 1, 2, 2]


def test_replacement_and_all() -> None:
    assert drawn("all", 1, 3, 2) == [[0, 1, 2], [0, 1, 2]]
    found = drawn("replacement", 50, 4, 1)[0]
    assert len(found) == 50
    assert set(found) == {0, 1, 2, 3}


@pytest.mark.parametrize(("pool", "size"), [("labelled", 20), ("unlabelled", 1277), ("all", 1297)])
def test_pools(digits: Dataset, pool: Literal["labelled", "unlabelled", "all"], size: int) -> None:
    split = make_split(digits, seed=0, budget=20, selection="balanced")
    found = pool_of(Draw(5, pool), split, CPU)
    assert len(found.indices.unique()) == size
    if pool == "labelled":
        assert found.labels is not None
        assert found.labels.bincount().tolist() == [2] * 10
    else:
        assert found.labels is None


def test_a_batch_makes_only_what_is_asked_for() -> None:
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name.upper()

    batch = Batch(make)
    assert (batch["a"], batch["a"]) == ("A", "A")
    assert made == ["a"]
