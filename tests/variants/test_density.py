"""Bad GAN's density, as a run trains it, against a model of independent pixels or coordinates."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.datasets import Dataset, load, make_split
from bench.grid import task_of
from bench.training.trainer import Trainer
from bench.variant import Task
from variants.bad import Bad
from variants.parts.networks.made import MADE

BINS = 40  # of a coordinate
TESTED = 1000  # images


def independent(dataset: Dataset) -> float:
    """Nats per test image under one histogram per variable, of all training images and one count more per value."""
    train, test = (part.flatten(1).numpy() for part in (dataset.train_images, dataset.test_images[:TESTED]))
    width = np.ones(train.shape[1])
    if not np.issubdtype(train.dtype, np.integer):
        low, width = train.min(0), (train.max(0) - train.min(0)) / BINS
        train, test = (np.clip((part - low) / width, 0, BINS - 1).astype(int) for part in (train, test))
    values, nats = int(train.max()) + 1, np.log(width).sum()
    for column, held_out in zip(train.T, test.T, strict=True):
        counts = np.bincount(column, minlength=values) + 1
        nats -= np.log(counts / counts.sum())[held_out].mean()
    return float(nats)


def trained(dataset: Dataset, budget: int, steps: int, **fields: float) -> float:
    """Nats per test image under the density of a run of `steps` steps, at the end of its phase."""
    task = task_of(dataset, budget, 0, None)
    recipe = Bad.recipe_for("common", dataset.name, task.shape_class).model_copy(update=fields)
    split = make_split(dataset, seed=0, budget=budget, selection="balanced")
    trainer = Trainer(Bad(task, recipe), dataset, [split], [0], steps, torch.device("cpu"))
    while trainer.schedule.phase(trainer.at).name == "density":
        trainer.step()
    network = trainer.networks["density"]
    weights = {name: value[0] for name, value in {**network.parameters, **network.buffers}.items()}
    images = dataset.scale(dataset.test_images[:TESTED])
    with torch.no_grad():
        return -torch.func.functional_call(network.template, weights, (images,)).mean().item()


@pytest.mark.parametrize(
    ("name", "budget", "steps", "margin"),
    [
        ("digits", 100, 1000, 10),
        pytest.param("two-circles", 7, 3000, 0.3, marks=pytest.mark.slow),
        pytest.param("mnist", 100, 3000, 10, marks=pytest.mark.slow),
        pytest.param("cifar10", 4000, 500, 100, marks=pytest.mark.slow),
    ],
)
def test_a_runs_density_is_better_than_an_independent_model(name: str, budget: int, steps: int, margin: float) -> None:
    """On test images that neither model has seen, for the schedules of the committed runs."""
    root = os.environ.get("BENCH_DATA")
    if name in ("mnist", "cifar10") and not root:
        pytest.skip("needs MNIST and CIFAR-10: set BENCH_DATA to their folder")
    dataset = load(name, Path(root or ""))
    nats, baseline = trained(dataset, budget, steps, low_density_weight=1e-3), independent(dataset)
    print(f"{name}: {nats:.2f} nats, independent {baseline:.2f}")  # for reports/bad-density.md
    assert nats < baseline - margin


@pytest.mark.parametrize("mixtures", [1, 2, 5])
def test_it_starts_from_independent_variables(mixtures: int) -> None:
    digits = load("digits", Path())
    images = digits.scale(digits.train_images)
    model = MADE(Task((1, 8, 8), 10, (0.0, 1.0), 10, 100), hidden=8, mixtures=mixtures, levels=16)
    uniform = 64 * np.log(17)
    model.calibrate(images[:500])
    with torch.no_grad():
        nats = -model(images[500:]).mean().item()
        shuffled = torch.stack([pixel[torch.randperm(len(pixel))] for pixel in images[500:].flatten(1).T], 1)
        assert -model(shuffled.view(-1, 1, 8, 8)).mean().item() == pytest.approx(nats)  # each pixel on its own
    assert nats < (uniform if mixtures == 1 else 0.7 * uniform)
