import numpy as np
import pytest
import torch

from bench.datasets import Dataset, Examiner, FirewallError, LabelledSet, LabelVault, spread

LABELS = [2, 0, 1, 1, 0, 2, 1]


def test_vault_counts_and_lists_classes() -> None:
    vault = LabelVault(LABELS)
    assert len(vault) == 7
    assert vault.class_counts().tolist() == [2, 3, 2]
    assert [members.tolist() for members in vault.by_class()] == [[1, 4], [2, 3, 6], [0, 5]]


def test_open_hands_over_the_labels_of_the_list_in_its_order() -> None:
    opened = LabelVault(LABELS).open([6, 0, 4])
    assert opened.indices.tolist() == [6, 0, 4]
    assert opened.read([0, 1, 2]).tolist() == [1, 2, 0]


@pytest.mark.parametrize("indices", [[7], [-1], [0, 0], [0.0, 1.0], [True, False]])
def test_open_refuses_what_is_no_list_of_labelled_images(indices: list[int]) -> None:
    with pytest.raises(FirewallError):
        LabelVault(LABELS).open(indices)


def test_touched_counts_distinct_labels() -> None:
    opened = LabelVault(LABELS).open([6, 0, 4])
    assert opened.touched == 0
    assert opened.read([[1, 1], [1, 1]]).tolist() == [[2, 2], [2, 2]]
    assert opened.touched == 1
    opened.read(torch.tensor([0, 1]))
    assert opened.touched == 2


@pytest.mark.parametrize("positions", [[3], [0, 99], [-1], [0.5]])
def test_reading_outside_the_set_raises_and_touches_nothing(positions: list[int]) -> None:
    opened = LabelVault(LABELS).open([6, 0, 4])
    with pytest.raises(FirewallError, match="outside"):
        opened.read(positions)
    assert opened.touched == 0


def test_an_empty_read_is_allowed() -> None:
    assert LabelVault(LABELS).open([1]).read([]).tolist() == []


def test_no_public_attribute_shows_a_label() -> None:
    vault = LabelVault(LABELS)
    for keeper in (vault, vault.open([0, 1]), Examiner(LABELS)):
        public = {name for name in vars(keeper) if not name.startswith("_")}
        assert public <= {"indices"}
        assert repr(keeper).startswith("<")
    assert not [name for name in Dataset.__dataclass_fields__ if "label" in name]


def test_hash_is_that_of_the_index_list() -> None:
    # sha256 of the little-endian 64-bit integers 1, 2
    expected = "0c730b69905c5ef7a4ca5269f72365400bde2dd2c04eaf9bbb3d1c4a265a0131"
    one = LabelledSet([1, 2], [0, 0])
    assert one.hash == LabelledSet([1, 2], [1, 1]).hash == expected
    assert one.hash != LabelledSet([2, 1], [0, 0]).hash


def test_poisoned_copy_keeps_the_listed_labels_and_falsifies_every_other() -> None:
    labels = np.arange(300) % 3
    keep = np.array([5, 7, 200])
    poisoned = LabelVault(labels).poisoned(keep, np.random.default_rng(0))
    false = poisoned.open(np.arange(300)).read(np.arange(300))
    wrong = np.flatnonzero(false != labels)
    assert wrong.tolist() == [i for i in range(300) if i not in keep]
    assert set(false.tolist()) == {0, 1, 2}
    assert LabelVault(labels).open([4]).read([0]).tolist() == [1]


def test_examiner_counts_wrong_predictions() -> None:
    examiner = Examiner([0, 1, 2, 1])
    predictions = torch.tensor([[[0, 1, 2, 1], [0, 0, 0, 0]], [[1, 0, 1, 0], [0, 1, 2, 2]]])
    assert examiner.n == 4
    assert examiner.wrong(predictions).tolist() == [[0, 3], [4, 1]]


def test_fewer_predictions_than_images_are_of_images_spread_over_all() -> None:
    assert spread(4, 4).tolist() == [0, 1, 2, 3]
    assert spread(10, 4).tolist() == [0, 2, 5, 7]
    assert Examiner([0, 1, 2, 1]).wrong(torch.tensor([[0, 2], [1, 1]])).tolist() == [0, 2]


@pytest.mark.parametrize("predictions", [torch.zeros(5, dtype=torch.int64), torch.zeros(4)])
def test_examiner_refuses_too_many_predictions_and_scores(predictions: torch.Tensor) -> None:
    with pytest.raises(FirewallError):
        Examiner([0, 1, 2, 1]).wrong(predictions)


def test_validation_examiner_takes_the_labels_of_its_indices() -> None:
    examiner = Examiner.for_validation(LabelVault(LABELS), [5, 1, 2])
    assert examiner.n == 3
    assert examiner.wrong(torch.tensor([2, 0, 1])).item() == 0
    assert examiner.wrong(torch.tensor([0, 0, 1])).item() == 1
    with pytest.raises(FirewallError):
        Examiner.for_validation(LabelVault(LABELS), [7])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_examiner_stays_on_the_device_of_the_predictions() -> None:
    examiner = Examiner([0, 1, 2, 1])
    predictions = torch.tensor([0, 1, 0, 0], device="cuda")
    examiner.wrong(predictions)
    torch.cuda.set_sync_debug_mode("error")
    try:
        count = examiner.wrong(predictions)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert count.device.type == "cuda"
    assert count.item() == 2
