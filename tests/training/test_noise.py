"""Noise tapes and named streams."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.streams import numpy_generator, stream, torch_generator
from bench.training.noise import BLOCK, Lengths, measure, record
from bench.variant import Noise

CPU = torch.device("cpu")


def tape(normal: int, uniform: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    recorded = record([torch_generator(CPU, seed, "noise")], Lengths(normal, uniform), CPU)
    return recorded.normal[0], recorded.uniform[0]


# --- tapes ---


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_longer_tape_begins_with_the_shorter_one(a: int, b: int) -> None:
    short, long = sorted((a * BLOCK, b * BLOCK))
    assert torch.equal(tape(long, 0)[0][:short], tape(short, 0)[0])
    assert torch.equal(tape(0, long)[1][:short], tape(0, short)[1])


def test_each_run_has_its_own_generator() -> None:
    generators = [torch_generator(CPU, seed, "noise") for seed in (3, 4, 5)]
    together = record(generators, Lengths(32, 48), CPU)
    for row, seed in enumerate((3, 4, 5)):
        normal, uniform = record([torch_generator(CPU, seed, "noise")], Lengths(32, 48), CPU)
        assert torch.equal(together.normal[row], normal[0])
        assert torch.equal(together.uniform[row], uniform[0])
    assert not torch.equal(together.normal[0], together.normal[1])


def test_tapes_hold_what_their_names_say() -> None:
    normal, uniform = tape(32_768, 32_768)
    assert normal.mean().item() == pytest.approx(0, abs=0.02)
    assert normal.std().item() == pytest.approx(1, abs=0.02)
    assert uniform.min().item() >= 0
    assert uniform.max().item() < 1
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)


def test_the_next_tape_goes_on() -> None:
    generator = torch_generator(CPU, 0, "noise")
    first, second = (record([generator], Lengths(16, 16), CPU) for _ in range(2))
    assert not torch.equal(first.normal, second.normal)
    assert not torch.equal(first.uniform, second.uniform)


# --- reading ---


def test_pieces_are_cut_off_in_order() -> None:
    noise = Noise(torch.arange(20.0), torch.arange(20.0) / 20)
    assert noise.normal(2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert noise.uniform(2).tolist() == pytest.approx([0, 0.05])
    assert noise.normal(1).tolist() == [6]  # the two tapes have a place each
    assert noise.uniform(1).tolist() == pytest.approx([0.1])


def test_a_fork_reads_the_same_again() -> None:
    noise = Noise(torch.arange(20.0), torch.arange(20.0))
    noise.normal(3)
    twin = noise.fork()
    assert twin.normal(2).tolist() == [3, 4]
    assert twin.uniform(2).tolist() == [0, 1]
    assert noise.normal(2).tolist() == [3, 4]  # the original has not moved
    assert noise.uniform(2).tolist() == [0, 1]


def test_reading_past_the_end_fails() -> None:
    noise = Noise(torch.zeros(4), torch.zeros(4))
    noise.normal(3)
    with pytest.raises(RuntimeError):
        noise.normal(2)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_keep_mask_is_inverted_dropout(rate: float) -> None:
    uniform = tape(0, 32_768)[1]
    mask = Noise(uniform, uniform).keep_mask((256, 128), rate)
    assert mask.shape == (256, 128)
    assert np.unique(mask.numpy()).tolist() == pytest.approx([0, 1 / (1 - rate)])
    assert (mask == 0).float().mean().item() == pytest.approx(rate, abs=0.01)
    assert mask.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(mask.flatten() == 0, uniform < rate)


# --- measuring ---


def test_lengths_are_measured_and_rounded_up_to_blocks() -> None:
    def use(noise: Noise) -> None:
        noise.normal(3, 5)
        noise.uniform(16)
        noise.keep_mask((2, 2), 0.5)

    assert measure(use, CPU) == Lengths(16, 32)  # 15 and 16 + 4
    assert measure(lambda noise: None, CPU) == Lengths(0, 0)
    assert record([torch_generator(CPU, 0, "noise")], Lengths(0, 0), CPU).normal.shape == (1, 0)


def test_a_fork_counts_only_what_reaches_further() -> None:
    def use(noise: Noise) -> None:
        twin = noise.fork()
        twin.normal(40)
        noise.normal(10)
        twin.fork().normal(8)

    assert measure(use, CPU) == Lengths(48, 0)


# --- streams ---


def test_golden_keys() -> None:
    """A change of these moves every number of every run."""
    assert stream(0, "noise") == 6094347035957852577
    assert stream(7, "init", "generator") == 5566204344067806519


def test_a_stream_is_a_hash_of_seed_purpose_and_axes() -> None:
    text = json.dumps([3, "batches", "labelled", 2])
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert stream(3, "batches", "labelled", 2) == int(digest[:16], 16) // 2


def test_streams_differ_in_every_part_of_their_name() -> None:
    keys = [
        stream(0, "noise"), stream(1, "noise"), stream(0, "init"), stream(0, "init", "a"), stream(0, "init", "b"),
        stream(0, "init", "a", "b"), stream(0, "init", "a,b"), stream(0, "init", 1), stream(0, "init", "1"),
        stream(10, "init"), stream(1, "init", 0),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert all(0 <= key < 2**63 for key in keys)


def test_generators_of_a_stream_repeat_and_others_do_not_follow() -> None:
    first = torch.randn(8, generator=torch_generator(CPU, 0, "noise"))
    assert torch.equal(first, torch.randn(8, generator=torch_generator(CPU, 0, "noise")))
    assert not torch.equal(first, torch.randn(8, generator=torch_generator(CPU, 0, "noise", "initial")))
    numbers = numpy_generator(0, "split", "x").random(4)
    assert np.array_equal(numbers, numpy_generator(0, "split", "x").random(4))
    assert not np.array_equal(numbers, numpy_generator(0, "split", "y").random(4))
