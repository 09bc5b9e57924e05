"""Recipes: all hyper-parameters of one variant on one dataset, as fields with a type, a range, a reason and a meaning.

`bench.variant` offers all of it to the authors of variants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_STEPS = 10**9
MOST_IN_BATCH = 2**16
SMOKE_STEPS, SMOKE_BATCH, SMOKE_TEST_IMAGES = 20, 8, 64
_REQUIRED = object()


def setting(
    default: Any,
    why: str,
    *,
    neutral: Any = _REQUIRED,
    batch: bool = False,
    unused_if: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    **bounds: Any,
) -> Any:
    """A field of a recipe.

    Args:
        default: the paper's value.
        why: one line for `bench show` and error messages.
        neutral: for a switch, the value that means "off". A field at its neutral value is left out of the run's
            identity, so a switch that is added later moves no earlier run.
        batch: a number of examples per step, at most 65,536, which the smoke protocol cuts down.
        unused_if: the values of other fields (a tuple: any of them) that, all together, leave this one without effect;
            it may not be set then. Several such mappings: each does.
        bounds: pydantic's constraints (`ge`, `gt`, `le`, `lt`).
    """
    extra: dict[str, Any] = {} if neutral is _REQUIRED else {"neutral": neutral}
    if batch:
        extra["batch"] = True
        bounds.setdefault("le", MOST_IN_BATCH)
    if unused_if:
        extra["unused_if"] = [dict(c) for c in ([unused_if] if isinstance(unused_if, Mapping) else unused_if)]
    return Field(default, description=why, json_schema_extra=extra, **bounds)


class Recipe(BaseModel):
    """All hyper-parameters of one variant on one dataset. Subclass it and add fields with `setting`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int | None = setting(
        None, "optimisation steps, all phases together; unset: from `epochs`", ge=1, le=MOST_STEPS
    )
    epochs: int | None = setting(
        None, "passes over the unlabelled pool, where `steps` is unset", ge=1, le=10**6, neutral=None
    )
    lr: float = setting(1e-3, "step size of every player", gt=0, le=1)
    evaluations: int = setting(40, "evaluations, spread evenly over the schedule", ge=1, le=10_000)
    evaluate_with: Literal["raw", "ema"] = setting("raw", "which weights give the accuracy of the tables")
    test_images: int | None = setting(None, "evaluate on so many test images only, evenly spread", ge=1, neutral=None)

    def identity(self) -> dict[str, Any]:
        """The fields that enter a run's id: all that are not neutral. The resolved steps enter on their own."""
        values = self.model_dump()
        schedule = {"steps", "epochs"}
        return {k: v for k, v in values.items() if k not in schedule and v != self.neutral(k)}

    @classmethod
    def neutral(cls, name: str) -> Any:
        """The value of field `name` that means "off", or a value that equals nothing."""
        extra = cls.model_fields[name].json_schema_extra
        return extra.get("neutral", _REQUIRED) if isinstance(extra, dict) else _REQUIRED

    @classmethod
    def has_neutral(cls, name: str) -> bool:
        """Whether field `name` is a switch."""
        return cls.neutral(name) is not _REQUIRED

    def without_effect(self, name: str) -> Mapping[str, Any] | None:
        """The fields and values that leave field `name` of this recipe without effect; None where it has one."""
        extra = type(self).model_fields[name].json_schema_extra
        causes: Any = extra.get("unused_if", []) if isinstance(extra, dict) else []
        for cause in causes:
            found = {field: getattr(self, field) for field in cause}
            if all(_among(found[field], value) for field, value in cause.items()):
                return found
        return None

    def smoke(self, batch: int = SMOKE_BATCH) -> Recipe:
        """The same recipe cut down to prove that it runs: 20 steps, small batches, few test images, one evaluation."""
        batches = [n for n, f in type(self).model_fields.items() if _is_batch(f.json_schema_extra)]
        small = {n: min(getattr(self, n) or batch, batch) for n in batches if getattr(self, n) != self.neutral(n)}
        limits = {"steps": SMOKE_STEPS, "test_images": SMOKE_TEST_IMAGES, "evaluations": 1}
        return self.model_copy(update=small | limits)


Width = Annotated[int, Field(ge=1, le=2**16)]  # of a layer; for fields such as `tuple[Width, ...]`


def _among(value: Any, allowed: Any) -> bool:
    return value in allowed if isinstance(allowed, tuple) else bool(value == allowed)


def _is_batch(extra: object) -> bool:
    return isinstance(extra, dict) and bool(extra.get("batch"))


@dataclass(frozen=True)
class Choice:
    """A recipe field's values to draw from when tuning, all equally likely."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class LogUniform:
    """A recipe field's range to draw from when tuning, uniform on the logarithm."""

    low: float
    high: float


@dataclass(frozen=True)
class Technique:
    """A part of a method that `bench ablate` adds where it is off and removes where it is on."""

    on: Mapping[str, Any]  # recipe fields that switch it on
    off: Mapping[str, Any]  # the same fields, switching it off

    def is_on(self, recipe: Recipe) -> bool:
        return any(getattr(recipe, name) != value for name, value in self.off.items())
