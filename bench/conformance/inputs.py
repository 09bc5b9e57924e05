"""Checks on what goes in and comes out: shapes, ranges, and that a variant learns."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.conformance.cases import Case, synthetic, whole_cases
from bench.conformance.problem import ConformanceError, describe
from bench.errors import UsageError
from bench.grid import task_of
from bench.training.executor import LoopExecutor, assemble
from bench.training.sampling import generate
from bench.training.trainer import Trainer
from bench.variant import Nets, Variant

SHAPE_CLASSES = ("vector", "grey", "colour", "large")
STEPS, LEARNING_STEPS, LEARNING_BUDGET = 2, 100, 50


def shapes(kind: type[Variant]) -> None:
    """Every shape class that there is a recipe for, with 2 and with 10 classes: trains, classifies, generates."""
    tried = False
    for name in SHAPE_CLASSES:
        for classes in (2, 10):
            dataset = synthetic(name, classes)
            shape_class = task_of(dataset, 1, 0, None).shape_class
            for protocol in ("common", "paper"):
                try:
                    recipe = kind.recipe_for(protocol, "unnamed", shape_class)
                except UsageError:
                    continue
                tried = True
                _trains(Case(kind, protocol, recipe.smoke(), dataset), classes)
                break
    if not tried:
        raise ConformanceError(f"no recipe for a shape class ({', '.join(SHAPE_CLASSES)}): a new dataset finds none")


def _trains(case: Case, classes: int) -> None:
    where = f"{case} images, {classes} classes"
    try:
        trainer = case.trainer((0,), STEPS, executor=LoopExecutor)
        trainer.train()
        logits, fakes = trainer.evaluator.logits(False), _generated(trainer)
    except Exception as error:  # whatever the author's code raises is the finding
        raise ConformanceError(f"{where}: {describe(error, case.kind)}") from error
    expected = [1, len(trainer.evaluator.test_images), classes]
    if list(logits.shape) != expected:
        raise ConformanceError(f"{where}: `classify` gives {list(logits.shape[1:])}, not [images, K] = {expected[1:]}")
    if not bool(torch.isfinite(logits).all()):
        raise ConformanceError(f"{where}: logits are not finite after {STEPS} steps")
    if fakes is not None:
        _check_images(fakes, trainer, where)


def _generated(trainer: Trainer) -> Tensor | None:
    """One image per class from the first run's generator, if the variant has one."""
    networks = trainer.networks
    tensors = {name: {k: v[0] for k, v in (net.parameters | net.buffers).items()} for name, net in networks.items()}
    nets, classes = assemble(networks, tensors), torch.arange(trainer.variant.task.classes)
    images = generate(trainer.variant, nets, classes, seed=0)
    if images is not None and trainer.variant.conditional:
        weights = torch.eye(len(classes))
        if not torch.equal(images, _made(trainer, nets, weights)):
            raise ConformanceError("`conditional`: images for labels and for their one-hot weights differ")
        if torch.equal(images, _made(trainer, nets, weights.roll(1, 0))):
            raise ConformanceError("`conditional`: images do not depend on the labels")
    return images


def _made(trainer: Trainer, nets: Nets, weights: Tensor) -> Tensor:
    """Images for weights over the classes `[n, K]`, from the same noise."""
    images = generate(trainer.variant, nets, weights, seed=0)
    assert images is not None
    return images


def _check_images(images: Tensor, trainer: Trainer, where: str) -> None:
    task = trainer.variant.task
    expected = (task.classes, *task.image_shape)
    if tuple(images.shape) != expected:
        raise ConformanceError(f"{where}: `generate` gives images of shape {list(images.shape)}, not {list(expected)}")
    if not bool(torch.isfinite(images).all()):
        raise ConformanceError(f"{where}: generated images are not finite")
    if task.value_range is not None:
        low, high = task.value_range
        if images.min() < low or images.max() > high:
            found = f"{images.min().item():.3g} to {images.max().item():.3g}"
            raise ConformanceError(f"{where}: generated images go from {found}, the data from {low} to {high}")


def learning(kind: type[Variant]) -> None:
    """100 steps with 50 labels of digits: far better than chance, with raw or averaged weights."""
    if not kind.beats_chance:
        return
    case = whole_cases(kind)[0]
    trainer = case.trainer((0,), LEARNING_STEPS, budget=LEARNING_BUDGET, executor=LoopExecutor)
    while trainer.at < LEARNING_STEPS:
        trainer.step()
    trainer.evaluate()
    errors, _ = trainer.curves.run(0)
    accuracy = 1 - min(wrong[-1] for wrong in errors.values()) / len(trainer.evaluator.test_images)
    needed = 3 / case.dataset.classes
    if accuracy < needed:
        raise ConformanceError(f"{case}: accuracy {accuracy:.0%} after {LEARNING_STEPS} steps; {needed:.0%} expected")
