"""Samples along training: the same noise each time, no bit of the training moved, classes and mixtures in place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.datasets import Dataset, load
from bench.execution.worker import prepare
from bench.grid import Options, plan
from bench.training.sampling import FRAMES, MESH, PER_CLASS, POINTS, SIDE, STEPS, Grouped, Samples, rows_of_classes
from bench.training.trainer import Trainer
from bench.variant import Noise


def trainer_of(variant: str, dataset: Dataset, steps: int = 6, **fields: object) -> Trainer:
    settings = [f"{variant}.{name}={json.dumps(value)}" for name, value in {"evaluations": 3, **fields}.items()]
    runs = plan(Options(variants=variant, labels="20", seeds="2", steps=steps, settings=settings), dataset)
    return prepare(runs, dataset, torch.device("cpu"))[0]


@pytest.mark.parametrize("variant", ["fm", "triple"])
def test_taking_samples_moves_no_bit(variant: str, digits: Dataset) -> None:
    alone, watched = trainer_of(variant, digits), trainer_of(variant, digits)
    alone.train()
    samples = Samples(watched)
    watched.train(samples)
    for name, net in alone.networks.items():
        assert torch.equal(net.flat, watched.networks[name].flat)
    assert alone.curves.errors == watched.curves.errors
    assert samples.steps == [[2, 4, 6]] * 2


def test_noise_is_the_same_along_training_and_differs_between_runs(digits: Dataset) -> None:
    trainer = trainer_of("fm", digits, lr=1e-12)  # the weights stay where they are
    samples = Samples(trainer)
    trainer.train(samples)
    first, second = samples.of_run(0), samples.of_run(1)
    assert first["images"].shape == (3, 10 * PER_CLASS, 1, 8, 8)
    assert first["images"].dtype == torch.uint8
    assert first["images"].max() <= 16
    assert torch.equal(first["images"][0], first["images"][2])
    assert not torch.equal(first["images"], second["images"])
    assert first["labels"].tolist() == rows_of_classes(10).tolist()


def test_frames_are_spread_over_training_and_end_with_it(digits: Dataset) -> None:
    samples = Samples(trainer_of("fm", digits, steps=200, evaluations=100))
    assert len(samples.due) == FRAMES
    assert max(samples.due) == 200
    assert min(samples.due) == 10


def test_a_conditional_generator_mixes_classes(digits: Dataset) -> None:
    trainer = trainer_of("triple", digits)
    samples = Samples(trainer)
    trainer.train(samples)
    found = samples.of_run(0)
    between, mixed = found["interpolation"].float(), found["attributes"].float()
    assert between.shape == (10, STEPS, 1, 8, 8)
    assert mixed.shape == (SIDE, SIDE, 1, 8, 8)
    ends = (between[:, 0] - between[:, -1]).abs().mean()
    steps = (between[:, 1:] - between[:, :-1]).abs().mean()
    assert 0 < steps < ends  # one noise per row, so neighbours are alike
    assert not torch.equal(mixed[0, 0], mixed[0, -1])
    assert not torch.equal(mixed[0, 0], mixed[-1, 0])


def test_points_come_with_the_classes_of_the_plane() -> None:
    circles = load("two-circles", Path("unused"))
    trainer = trainer_of("fm", circles)
    samples = Samples(trainer)
    trainer.train(samples)
    found = samples.of_run(1)
    assert found["images"].shape == (3, POINTS, 2)
    assert found["classes"].shape == (3, MESH, MESH)
    assert found["labelled"].shape == (20, 2)
    extent, corner = float(found["extent"]), torch.tensor([[-1.0, 1.0]])
    expected = trainer.evaluator.answers(extent * corner, averaged=True, shared=True)[1].argmax(-1)
    assert found["classes"][-1, -1, 0] == expected  # the last row is the uppermost, the first column the leftmost


def test_a_classifier_alone_leaves_nothing(digits: Dataset) -> None:
    trainer = trainer_of("supervised", digits)
    samples = Samples(trainer)
    trainer.train(samples)
    assert samples.of_run(0) == {}


def test_grouped_noise_is_shared_within_a_group() -> None:
    groups = torch.tensor([0, 1, 1, 2, 2, 2])

    def read(noise: Noise) -> Tensor:
        return noise.normal(6, 3)

    source = Noise(torch.arange(100.0), torch.arange(100.0))
    assert read(Grouped(source, groups)).tolist() == [[3.0 * g, 3.0 * g + 1, 3.0 * g + 2] for g in groups.tolist()]
