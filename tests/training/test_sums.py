"""Sums of logs between evaluations."""

from __future__ import annotations

import math

import torch

from bench.training.sums import Sums


def test_means_per_run() -> None:
    sums = Sums()
    for a, b in ((1.0, 5.0), (3.0, -1.0)):
        sums.count(sums.add({"loss": torch.tensor([a, b])}))
    sums.count(sums.add({"rare": torch.tensor([7.0, 8.0])}))
    assert sums.means() == {"loss": [2.0, 2.0], "rare": [7.0, 8.0]}


def test_what_is_added_stays_as_it_is_and_sums_keep_their_places() -> None:
    sums, value = Sums(), torch.tensor([1.0])
    sums.count(sums.add({"loss": value}))
    total = sums.totals["loss"]
    sums.reset()
    assert sums.current() == sums.means() == {}
    sums.count(sums.add({"loss": torch.tensor([4.0])}))
    assert (value.item(), total.item()) == (1.0, 4.0)
    assert sums.current()["loss"] is total


def test_the_sign_of_a_zero_is_kept() -> None:
    sums = Sums()
    for _ in range(2):  # before and after a reset
        sums.count(sums.add({"loss": torch.tensor([-0.0, 0.0])}))
        assert [math.copysign(1, x) for x in sums.means()["loss"]] == [-1, 1]
        sums.reset()


def test_sums_go_on_where_they_were_saved() -> None:
    sums = Sums()
    sums.count(sums.add({"gone": torch.tensor([1.0, 1.0])}))
    sums.load({"loss": [torch.tensor(2.0), torch.tensor(6.0)]}, {"loss": 3}, torch.device("cpu"))
    sums.count(sums.add({"loss": torch.tensor([2.0, 2.0])}))
    assert sums.means() == {"loss": [1.0, 2.0]}
