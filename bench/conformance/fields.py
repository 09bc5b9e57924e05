"""Checks on recipes: they are sound, and every field does something."""

from __future__ import annotations

import itertools
import json
import re
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from bench.conformance.cases import SHAPES, Case, cases, synthetic, whole_cases
from bench.conformance.problem import ConformanceError, describe
from bench.conformance.snapshot import differing, snapshot
from bench.grid import PROTOCOLS
from bench.training.executor import LoopExecutor
from bench.training.schedule import Schedule
from bench.variant import SMOKE_BATCH, Choice, Recipe, Variant

STEPS = 3  # at least; one more than there are phases
TRIES = (2, 8)  # other values of a field, per recipe: the likely ones, then more


def well_formed(kind: type[Variant]) -> None:
    """Name, version, tables and recipes are what the house expects, and each recipe survives being stored."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", kind.name):
        raise ConformanceError(f"`name` {kind.name!r}: lower-case letters, digits, - and _ only")
    if unknown := set(kind.recipes) - (set(PROTOCOLS) - {"smoke"}):
        raise ConformanceError(f"`recipes` has unknown protocols: {', '.join(sorted(unknown))}")
    for field, info in kind.recipe_type.model_fields.items():
        if not info.description:
            raise ConformanceError(f"recipe field {field!r} has no description: use `setting`")
    for protocol, table in kind.recipes.items():
        for data, recipe in table.items():
            _sound(kind, recipe, f"recipe {protocol!r} for {data!r}")
    for field, space in kind.search.items():
        _searchable(kind, field, space.values if isinstance(space, Choice) else (space.low, space.high))
    for case in whole_cases(kind):
        averaged = any(player.ema for phase in case.variant().phases() for player in phase.players)
        if case.recipe.evaluate_with == "ema" and not averaged:
            raise ConformanceError(f"{case}: evaluate_with is 'ema', but no player has an `ema`")


def _sound(kind: type[Variant], recipe: Recipe, where: str) -> None:
    if type(recipe) is not kind.recipe_type:
        raise ConformanceError(f"{where} is a {type(recipe).__name__}, not a {kind.recipe_type.__name__}")
    if recipe.steps is None and recipe.epochs is None:
        raise ConformanceError(f"{where} has neither `steps` nor `epochs`")
    stored = json.dumps(recipe.model_dump(mode="json"))
    if kind.recipe_type.model_validate_json(stored, strict=True) != recipe:
        raise ConformanceError(f"{where} changes when it is stored as JSON")


def _searchable(kind: type[Variant], field: str, values: tuple[Any, ...]) -> None:
    if field not in kind.recipe_type.model_fields:
        raise ConformanceError(f"`search` names {field!r}, which is no field of the recipe")
    for value in values:
        try:
            kind.recipe_type.model_validate({field: value}, strict=True)
        except ValidationError as error:
            raise ConformanceError(
                f"`search` gives {field!r} the value {value!r}: {error.errors()[0]['msg']}"
            ) from error


def alive(kind: type[Variant]) -> None:
    """For every field some other value changes what a run comes to, with at least one of the recipes that use it."""
    usual = [_small(case, SMOKE_BATCH) for case in cases(kind)]
    further = [_small(case, 2) for case in _further_cases(kind)]
    before = cache(effect)
    dead = []
    for field in kind.recipe_type.model_fields:
        for case, tries in itertools.product(_able(usual, further, field), TRIES):
            if (verdict := _dead(case, field, before, tries)) is None:
                break
        else:
            dead.append(f"{field!r} {verdict}")
    if dead:
        raise ConformanceError(f"recipe field {'; '.join(dead)}")


def _small(case: Case, batch: int) -> Case:
    return replace(case, recipe=case.recipe.smoke(batch).model_copy(update={"test_images": 8}))


def _further_cases(kind: type[Variant]) -> list[Case]:
    """The other recipes of the paper: fields of their networks do nothing with the usual ones."""
    usual = {case.recipe for case in whole_cases(kind)}
    paper = [(data, recipe) for data, recipe in kind.recipes.get("paper", {}).items() if recipe not in usual]
    return [Case(kind, "paper", recipe, synthetic(data, 10), tiny=True) for data, recipe in paper if data in SHAPES]


def _able(usual: list[Case], further: list[Case], field: str) -> list[Case]:
    """The cases in which the field may have an effect. Changing a usual one for it costs less than a further one."""
    able = [case for case in usual if not case.recipe.without_effect(field)] or _made_able(usual[0], field)
    return able + [case for case in further if not case.recipe.without_effect(field)]


def _made_able(case: Case, field: str) -> list[Case]:
    """The case with what leaves the field without effect changed; none where no other valid value of that gives one."""
    first = next(iter(case.recipe.without_effect(field) or ()))
    changed = (_with(case, **{first: value}) for value in others(case.recipe, first))
    return list(itertools.islice((other for other in changed if not other.recipe.without_effect(field)), 1))


def _dead(case: Case, field: str, of: Callable[[Case], dict[str, Tensor]], tries: int) -> str | None:
    """None as soon as another value of the field has another effect than `of` the case; else what was wrong."""
    if field == "epochs":
        case = _with(case, steps=None, epochs=1)
    try:
        before = of(case)
    except Exception as error:  # a case that was changed may not fit the data; another one may
        return f"fails ({describe(error, case.kind)})"
    if field == "evaluate_with" and not any(name.startswith("averaged") for name in before):
        return None  # nothing is averaged, so there is nothing to choose
    values = list(itertools.islice(others(case.recipe, field), tries))
    found = f"changes nothing (tried {', '.join(map(repr, values))})"
    for value in values:
        try:
            if differing(before, effect(_with(case, **{field: value}))):
                return None
        except Exception as error:  # the value may not fit the data; another one may
            found = f"fails at {value!r} ({describe(error, case.kind)})"
    return found if values else "is of a type that no other value can be made up for: use bool, int, float or Literal"


def _with(case: Case, **values: Any) -> Case:
    return replace(case, recipe=case.recipe.model_copy(update=values))


def effect(case: Case) -> dict[str, Tensor]:
    """What a short run comes to, what its accuracy is read from, and how long and how divided a full one would be."""
    variant = case.variant()
    phases = sum(phase.share > 0 for phase in variant.phases())
    trainer = case.trainer((0,), max(STEPS, phases + 1), executor=LoopExecutor)
    trainer.train()
    found = snapshot(trainer, 0)
    found["read"] = found[_read(case, found)]
    found["phases"] = torch.tensor(Schedule(variant.phases(), 1000, 1).ends)
    return found | {"steps": torch.tensor(variant.steps()), "images": torch.tensor(len(trainer.evaluator.test_images))}


def _read(case: Case, found: dict[str, Tensor]) -> str:
    return "averaged logits" if case.recipe.evaluate_with == "ema" and "averaged logits" in found else "logits"


# --- other values ---


def others(recipe: Recipe, field: str) -> Iterator[Any]:
    """Valid other values of a field, likely ones first, made from its type and bounds."""
    info, value = type(recipe).model_fields[field], getattr(recipe, field)
    sides = ("ge", "gt", "le", "lt")
    bounds = [getattr(limit, side) for limit in info.metadata for side in sides if hasattr(limit, side)]
    seen = [value]
    for candidate in _candidates(info.annotation, value, bounds):
        if candidate in seen:
            continue
        seen.append(candidate)
        try:
            valid = type(recipe).model_validate({**recipe.model_dump(), field: candidate}, strict=True)
        except ValidationError:
            continue
        yield getattr(valid, field)


def _candidates(annotation: Any, value: Any, bounds: list[Any]) -> Iterator[Any]:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        for part in sorted(parts, key=lambda p: p is type(None)):  # None last
            yield from _candidates(part, value, bounds)
    elif origin is Literal:
        yield from parts
    elif annotation is type(None):
        yield None
    elif annotation is bool:
        yield not value
    elif annotation is int:
        yield from ([value + 1, value // 2, 2 * value] if isinstance(value, int) else []) + [1, 2, 3, *bounds]
    elif annotation is float:
        middle = [sum(bounds) / 2] if len(bounds) == 2 else []
        yield from ([value / 2, 2 * value] if isinstance(value, float | int) else []) + [*middle, 0.5, 1.0, *bounds]
    elif origin is tuple and isinstance(value, tuple):
        yield value[:-1]
        for last in _candidates(parts[0 if parts[-1] is ... else -1], value[-1], []) if value else ():
            yield (*value[:-1], last)
