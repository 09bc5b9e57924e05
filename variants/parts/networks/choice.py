"""Which network a recipe asks for."""

from __future__ import annotations

from typing import Any

from torch import nn

from bench.variant import Task
from variants.parts.networks import conv, mlp
from variants.parts.recipes import ClassifierRecipe, GeneratorRecipe


def classifier(task: Task, recipe: ClassifierRecipe, outputs: int) -> mlp.Classifier:
    """Body and head of the recipe's classifier, with so many outputs."""
    if recipe.network == "mlp":
        return mlp.noisy_classifier(
            task, recipe.classifier, outputs, input_noise=recipe.input_noise, hidden_noise=recipe.hidden_noise
        )
    return conv.conv_classifier(
        task, recipe.classifier, outputs,
        input_noise=recipe.input_noise, input_dropout=recipe.input_dropout, hidden_dropout=recipe.hidden_dropout,
        channel_dropout=recipe.channel_dropout,
    )  # fmt: skip


def generator(task: Task, recipe: GeneratorRecipe, **norm: Any) -> nn.Module:
    """The recipe's unconditional generator; `norm`: its batch norm's `gain` and `eps`."""
    build = mlp.generator if recipe.network == "mlp" else conv.conv_generator
    return build(task, recipe.generator, **norm)
