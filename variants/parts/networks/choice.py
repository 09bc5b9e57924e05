"""Which network a recipe asks for."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench.variant import Task
from variants.parts.layers import Stack
from variants.parts.networks import conv, mlp, resnet, sources
from variants.parts.recipes import (
    SOURCES,
    ClassifierRecipe,
    GeneratorRecipe,
    SourceRecipe,
)


def minibatch(recipe: ClassifierRecipe) -> mlp.Minibatch:
    """Minibatch discrimination where the recipe has it."""
    if isinstance(recipe, GeneratorRecipe):
        return mlp.Minibatch(recipe.minibatch_kernels, recipe.minibatch_dimensions, recipe.batch)
    return mlp.NO_MINIBATCH


def classifier(task: Task, recipe: ClassifierRecipe, outputs: int) -> mlp.Classifier:
    """Body and head of the recipe's classifier, with so many outputs."""
    if recipe.network == "mlp":
        return mlp.noisy_classifier(
            task, recipe.classifier, outputs, input_noise=recipe.input_noise, hidden_noise=recipe.hidden_noise,
            minibatch=minibatch(recipe),
        )  # fmt: skip
    if isinstance(recipe, SourceRecipe) and recipe.network in SOURCES:
        build = resnet.resnet18 if recipe.network == "resnet" else partial(sources.source_classifier, recipe.network)
        return build(
            task, outputs, input_dropout=recipe.input_dropout, hidden_dropout=recipe.hidden_dropout,
            running=not recipe.batch_statistics, minibatch=minibatch(recipe),
        )  # fmt: skip
    return conv.conv_classifier(
        task, recipe.classifier, outputs,
        input_noise=recipe.input_noise, input_dropout=recipe.input_dropout, hidden_dropout=recipe.hidden_dropout,
        channel_dropout=recipe.channel_dropout, minibatch=minibatch(recipe),
    )  # fmt: skip


def norm(recipe: GeneratorRecipe, **own: Any) -> mlp.Norm:
    """The recipe's batch norm for generators; `own`: `gain` and `eps`."""
    return mlp.Norm(reference=recipe.batch if recipe.virtual_batch_norm else 0, latent=recipe.latent, **own)


def generator(task: Task, recipe: GeneratorRecipe, *, std: float | None = None, **own: Any) -> Stack:
    """The recipe's unconditional generator.

    `std`: of the perceptron's output layer (None: Glorot-uniform); `own`: the `gain` and `eps` of its batch norm.
    """
    if recipe.network == "mlp" and recipe.plain_generator:
        return mlp.plain_generator(task, recipe.generator, recipe.latent_size)
    if recipe.network == "mlp":
        return mlp.generator(task, recipe.generator, norm(recipe, **own), latent=recipe.latent_size, std=std)
    if recipe.network == "resnet":
        return resnet.dcgan(task, norm(recipe, gain=True, eps=1e-5))
    if recipe.network in SOURCES:
        return sources.source_generator(recipe.network, task, norm(recipe, gain=True, eps=sources.EPS))
    return conv.conv_generator(task, recipe.generator, norm(recipe, **own))
