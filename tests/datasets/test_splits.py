import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.datasets import Dataset, load, make_split
from bench.errors import UsageError

MakeDataset = Callable[..., Dataset]
SELECTIONS = ["balanced", "random", "first"]

quick = settings(max_examples=60, deadline=None)


@st.composite
def label_lists(draw: st.DrawFn) -> list[int]:
    """Shuffled labels of 2 to 4 classes, which may differ much in size."""
    counts = draw(st.lists(st.integers(1, 9), min_size=2, max_size=4))
    labels = [k for k, count in enumerate(counts) for _ in range(count)]
    return draw(st.permutations(labels))


def chosen(dataset: Dataset, **changed: Any) -> list[int]:
    options: dict[str, Any] = {"seed": 0, "budget": 1, "selection": "balanced"} | changed
    return list(map(int, make_split(dataset, **options).labelled.indices))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits", Path("unused"))


@quick
@given(labels=label_lists(), seed=st.integers(0, 2**40), data=st.data())
@pytest.mark.parametrize("selection", SELECTIONS)
def test_budgets_are_nested(
    selection: str, toy: MakeDataset, labels: list[int], seed: int, data: st.DataObject
) -> None:
    large = data.draw(st.integers(1, len(labels)))
    small = data.draw(st.integers(1, large))
    dataset = toy(labels)
    ahead = chosen(dataset, seed=seed, budget=large, selection=selection)
    assert len(set(ahead)) == large
    assert chosen(dataset, seed=seed, budget=small, selection=selection) == ahead[:small]


@quick
@given(labels=label_lists(), seed=st.integers(0, 99), data=st.data())
def test_balanced_classes_differ_by_one_unless_exhausted(
    toy: MakeDataset, labels: list[int], seed: int, data: st.DataObject
) -> None:
    budget = data.draw(st.integers(1, len(labels)))
    got = np.bincount([labels[i] for i in chosen(toy(labels), seed=seed, budget=budget)], minlength=max(labels) + 1)
    sizes = np.bincount(labels)
    for k, count in enumerate(got):
        assert count <= sizes[k]
        assert count >= got.max() - 1 or count == sizes[k]


@quick
@given(labels=label_lists(), seed=st.integers(0, 99), data=st.data())
@pytest.mark.parametrize("selection", SELECTIONS)
def test_validation_changes_no_labelled_set_and_the_parts_are_a_partition(
    selection: str, toy: MakeDataset, labels: list[int], seed: int, data: st.DataObject
) -> None:
    budget = data.draw(st.integers(1, len(labels)))
    held_out = data.draw(st.integers(0, len(labels) - budget))
    extra = data.draw(st.integers(0, 3))
    dataset = toy(labels, extra)
    split = make_split(dataset, seed=seed, budget=budget, selection=selection, validation=held_out)
    assert split.labelled.indices.tolist() == chosen(dataset, seed=seed, budget=budget, selection=selection)
    assert len(split.validation_indices) == held_out
    assert split.unlabelled.tolist() == sorted(split.unlabelled.tolist())
    parts = [*split.labelled.indices.tolist(), *split.validation_indices.tolist(), *split.unlabelled.tolist()]
    assert sorted(parts) == list(range(len(labels) + extra))
    assert set(range(len(labels), len(labels) + extra)) <= set(split.unlabelled.tolist())


@quick
@given(labels=label_lists(), seed=st.integers(0, 99), data=st.data())
def test_capped_pools_are_nested(toy: MakeDataset, labels: list[int], seed: int, data: st.DataObject) -> None:
    assume(len(labels) > 1)
    dataset = toy(labels, extra=2)
    whole = make_split(dataset, seed=seed, budget=1, selection="balanced").unlabelled
    large = data.draw(st.integers(1, len(whole)))
    small = data.draw(st.integers(1, large))

    def pool(cap: int) -> list[int]:
        split = make_split(dataset, seed=seed, budget=1, selection="balanced", unlabelled=cap)
        return list(map(int, split.unlabelled))

    assert len(pool(large)) == large
    assert set(pool(small)) <= set(pool(large)) <= set(whole.tolist())
    assert pool(large) == sorted(pool(large))
    assert pool(len(whole)) == whole.tolist()


def test_balanced_split_equals_the_written_out_procedure(toy: MakeDataset) -> None:
    labels = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2]
    dataset = toy(labels)
    key = hashlib.sha256(json.dumps([5, "split", dataset.content_hash]).encode()).digest()[:8]
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(key, "big") >> 1))

    def permuted(values: list[int]) -> list[int]:
        keyed = sorted(zip(rng.random(len(values)).tolist(), values, strict=True))
        return [value for _, value in keyed]

    turns = permuted([0, 1, 2])
    queues = [permuted([i for i, label in enumerate(labels) if label == k]) for k in range(3)]
    backwards = [queue[::-1] for queue in queues]
    order: list[int] = []
    tail: list[int] = []
    for taken, source in ((order, queues), (tail, backwards)):
        while any(source):
            for k in turns:
                if source[k]:
                    taken.append(source[k].pop(0))
    split = make_split(dataset, seed=5, budget=7, selection="balanced", validation=3)
    assert split.labelled.indices.tolist() == order[:7]
    assert split.validation_indices.tolist() == [i for i in tail if i not in order[:7]][:3]


def test_validation_examiner_knows_the_held_out_labels(toy: MakeDataset) -> None:
    labels = [0, 1, 2, 0, 1, 2, 0, 1]
    split = make_split(toy(labels), seed=3, budget=3, selection="random", validation=4)
    truth = torch.tensor([labels[i] for i in split.validation_indices])
    assert split.validation is not None
    assert split.validation.wrong(truth).item() == 0
    assert split.validation.wrong((truth + 1) % 3).item() == 4
    assert make_split(toy(labels), seed=3, budget=3, selection="random").validation is None


def test_validation_shows_all_classes_where_one_is_larger(toy: MakeDataset) -> None:
    labels = [0] * 500 + [1] * 20 + [2] * 20
    split = make_split(toy(labels), seed=0, budget=6, selection="balanced", validation=9)
    assert np.bincount([labels[i] for i in split.validation_indices]).tolist() == [3, 3, 3]


def test_seeds_differ_and_repeat(digits: Dataset) -> None:
    for selection in ("balanced", "random"):
        drawn = [make_split(digits, seed=s, budget=20, selection=selection).labelled.hash for s in (0, 1, 2, 0)]
        assert len(set(drawn)) == 3
        assert drawn[0] == drawn[3]
    pools = [make_split(digits, seed=s, budget=20, selection="first", unlabelled=30).unlabelled for s in (0, 1)]
    assert pools[0].tolist() != pools[1].tolist()


@pytest.mark.parametrize(
    ("seed", "selection", "expected"),
    [
        (0, "balanced", "ff5cdcad184b5b64"),
        (1, "balanced", "f13b633b8d5e1ee5"),
        (0, "random", "9dc4f0693329f77e"),
        (1, "random", "541f74f4235b1490"),
    ],
)
def test_splits_of_digits_never_change(digits: Dataset, seed: int, selection: str, expected: str) -> None:
    """A change here orphans every result: it needs a new NUMERICS_VERSION."""
    split = make_split(digits, seed=seed, budget=100, selection=selection, validation=200, unlabelled=300)
    text = json.dumps([part.tolist() for part in (split.labelled.indices, split.validation_indices, split.unlabelled)])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == expected


def test_first_takes_the_order_of_the_file(toy: MakeDataset) -> None:
    split = make_split(toy([0, 0, 0, 1, 1]), seed=9, budget=2, selection="first", validation=2)
    assert split.labelled.indices.tolist() == [0, 1]
    assert sorted(split.validation_indices.tolist()) == [3, 4]


def test_index_file_gives_its_order_for_every_seed(toy: MakeDataset, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("4\n1\n0\n")
    selection = "file:" + hashlib.sha256(b"4\n1\n0\n").hexdigest()[:12]
    dataset = toy([0, 1] * 6)
    for seed in (0, 1):
        split = make_split(dataset, seed=seed, budget=2, selection=selection, validation=9, index_file=path)
        assert split.labelled.indices.tolist() == [4, 1]
        assert sorted(split.validation_indices.tolist()) == [2, 3, 5, 6, 7, 8, 9, 10, 11]
        assert split.unlabelled.tolist() == [0]
    with pytest.raises(UsageError, match=r"--validation 10.*9 remain"):
        make_split(dataset, seed=0, budget=2, selection=selection, validation=10, index_file=path)


@pytest.mark.parametrize(
    ("content", "budget", "message"),
    [("0\n1\n", 3, "2 entries, fewer than the budget 3"), ("0\n12\n", 1, "12 is out of range.*0 to 11")],
)
def test_unfit_index_files(toy: MakeDataset, tmp_path: Path, content: str, budget: int, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(content)
    selection = "file:" + hashlib.sha256(content.encode()).hexdigest()[:12]
    with pytest.raises(UsageError, match=message):
        make_split(toy([0, 1] * 6), seed=0, budget=budget, selection=selection, index_file=path)


def test_an_index_file_that_changed_is_noticed(toy: MakeDataset, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("0\n1\n")
    with pytest.raises(UsageError, match="has changed"):
        make_split(toy([0, 1]), seed=0, budget=1, selection="file:000000000000", index_file=path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "label budget 0: toy has 1 to 6"),
        ({"budget": 7}, "label budget 7: toy has 1 to 6"),
        ({"budget": 4, "validation": 3}, "--validation 3: .*2 remain beside a label budget of 4"),
        ({"validation": -1}, "--validation -1"),
        ({"unlabelled": 0}, "--unlabelled 0: allowed are 1 to 7"),
        ({"unlabelled": 8}, "--unlabelled 8: allowed are 1 to 7"),
        ({"selection": "balancd"}, "unknown label selection 'balancd'. Did you mean 'balanced'"),
        ({"selection": "file:123456789abc"}, "unknown label selection"),
    ],
)
def test_impossible_splits(toy: MakeDataset, options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen(toy([0, 1, 0, 1, 0, 1], extra=2), **options)


def test_hidden_labels_do_not_move_an_opened_split(digits: Dataset) -> None:
    split = make_split(digits, seed=0, budget=50, selection="balanced")
    poisoned = digits.vault.poisoned(split.labelled.indices, np.random.default_rng(1))
    again = poisoned.open(split.labelled.indices)
    assert again.read(np.arange(50)).tolist() == split.labelled.read(np.arange(50)).tolist()
