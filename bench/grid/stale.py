"""Which stored runs today's code would no longer produce."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from bench import registry
from bench.errors import UsageError
from bench.grid.run import Run, id_of
from bench.variant import Recipe


def is_stale(run: Run) -> bool:
    """Whether today's code gives the run another id: numerics, the variant's version or a recipe field have changed.

    A run of a variant that is not installed here is not called stale: nobody can tell.
    """
    try:
        variant = registry.get(run.variant)
    except UsageError:
        return False
    identity = _identity(variant.recipe_type, json.dumps(run.recipe))
    if identity is None:
        return True
    return run.id != id_of(
        variant, identity, dataset_hash=run.dataset_hash, budget=run.budget, selection=run.selection, seed=run.seed,
        steps=run.steps, validation=run.validation, unlabelled=run.unlabelled, precision=run.precision,
    )  # fmt: skip


def recipe_identity(run: Run) -> Mapping[str, Any]:
    """The fields that make the run's recipe what it is: without those that are off, where the variant is known."""
    try:
        identity = _identity(registry.get(run.variant).recipe_type, json.dumps(run.recipe))
    except UsageError:
        identity = None
    if identity is None:
        return {name: value for name, value in run.recipe.items() if name not in ("steps", "epochs")}
    return identity


@cache
def _identity(kind: type[Recipe], recipe: str) -> Mapping[str, Any] | None:
    """The identity of a stored recipe as today's type; fields added since are off. None where it does not fit.

    Remembered: thousands of runs share a few recipes.
    """
    fields = json.loads(recipe)
    added = {name: kind.neutral(name) for name in kind.model_fields if name not in fields and kind.has_neutral(name)}
    try:
        return kind.model_validate_json(json.dumps({**added, **fields}), strict=True).identity()
    except ValidationError:
        return None
