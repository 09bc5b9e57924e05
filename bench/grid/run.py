"""One run and its identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, field_validator, model_serializer

from bench.variant import Recipe, Variant

NUMERICS_VERSION = 1  # raise it when the trainer's numbers change: every earlier run then becomes stale


class Run(BaseModel):
    """One (variant, dataset, recipe, budget, selection, seed): all that fixes its numbers, and the names to show."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    variant: str
    version: int
    dataset: str
    dataset_hash: str  # of the content, never of a path
    protocol: str  # as tables show it: `common`, `paper@0.1`, `common@400`, `smoke`
    recipe: dict[str, Any]  # every field, resolved
    overrides: dict[str, Any]  # the fields that differ from the protocol's recipe
    budget: int
    selection: str  # `balanced`, `random`, `first`, `file:HASH`
    seed: int
    steps: int
    validation: int = 0
    unlabelled: int | None = None  # cap on the unlabelled pool; None: all of it
    row: str | None = None  # what a suite calls the recipe
    precision: str | None = None  # None: the default of whatever device trains it

    @field_validator("variant", "dataset", "protocol", "selection", "row", "precision")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        if name is not None and not name.isprintable():
            raise ValueError(f"{name!r} holds control characters")
        return name

    @property
    def label(self) -> str:
        """The variant as tables show it: `fm`, `fm[lr=0.3]` where fields were overridden, or what a suite calls it.

        A precision comes last: `fm[lr=0.3,precision=tf32]`.
        """
        name = self.row or self.variant
        fields = [] if self.row else [f"{field}={value}" for field, value in sorted(self.overrides.items())]
        fields += [f"precision={self.precision}"] if self.precision else []
        if not fields:
            return name
        before = f"{name[:-1]}," if name.endswith("]") else f"{name}["  # a row may have fields of its own
        return f"{before}{','.join(fields)}]"

    @model_serializer(mode="wrap")
    def _written(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A default precision is not written, so that a run's file reads the same as before there were others."""
        return {name: value for name, value in plain(self).items() if name != "precision" or value is not None}


def run_id(variant: type[Variant], recipe: Recipe, **facts: Any) -> str:
    """16 hexadecimal digits: a hash of everything that a run's numbers depend on, and of nothing else."""
    return id_of(variant, recipe.identity(), **facts)


def id_of(
    variant: type[Variant],
    recipe: Mapping[str, Any],
    *,
    dataset_hash: str,
    budget: int,
    selection: str,
    seed: int,
    steps: int,
    validation: int,
    unlabelled: int | None,
    precision: str | None,
) -> str:
    """`run_id` from a recipe's `identity()`."""
    identity = {
        "numerics": NUMERICS_VERSION,
        "variant": [variant.name, variant.version],
        "dataset": dataset_hash,
        "selection": selection,
        "budget": budget,
        "seed": seed,
        "steps": steps,
        "recipe": recipe,
    }
    if validation:
        identity["validation"] = validation
    if unlabelled is not None:
        identity["unlabelled"] = unlabelled
    if precision is not None:
        identity["precision"] = precision
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
