"""Which stored runs today's code would no longer produce."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bench import registry
from bench.errors import UsageError
from bench.grid.run import Run, run_id
from bench.variant import Recipe, Variant


def is_stale(run: Run) -> bool:
    """Whether today's code gives the run another id: numerics, the variant's version or a recipe field have changed.

    A run of a variant that is not installed here is not called stale: nobody can tell.
    """
    try:
        variant = registry.get(run.variant)
    except UsageError:
        return False
    recipe = _recipe(variant, run)
    if recipe is None:
        return True
    facts = run.model_dump(include={"dataset_hash", "budget", "selection", "seed", "steps", "validation", "unlabelled"})
    return run_id(variant, recipe, **facts) != run.id


def recipe_identity(run: Run) -> Mapping[str, Any]:
    """The fields that make the run's recipe what it is: without those that are off, where the variant is known."""
    try:
        recipe = _recipe(registry.get(run.variant), run)
    except UsageError:
        recipe = None
    if recipe is None:
        return {name: value for name, value in run.recipe.items() if name not in ("steps", "epochs")}
    return recipe.identity()


def _recipe(variant: type[Variant], run: Run) -> Recipe | None:
    """The run's recipe as today's type; fields added since are off. None where it does not fit."""
    kind = variant.recipe_type
    added = {
        name: kind.neutral(name) for name in kind.model_fields if name not in run.recipe and kind.has_neutral(name)
    }
    try:
        return kind.model_validate_json(json.dumps({**added, **run.recipe}), strict=True)
    except ValidationError:
        return None
