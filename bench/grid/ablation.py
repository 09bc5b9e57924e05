"""Which recipes an ablation compares: the base, and the base with one technique added or removed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.errors import UsageError, unknown
from bench.grid.options import not_taken, override, parse_value
from bench.variant import Recipe, Technique, Variant


@dataclass(frozen=True)
class Change:
    """A row of the table: what it is called, and the recipe fields that make it differ from the base."""

    name: str
    fields: Mapping[str, Any]

    def settings(self, variant: str) -> list[str]:
        """As `--set` takes them."""
        return [f"{variant}.{field}={json.dumps(value)}" for field, value in self.fields.items()]


BASE = Change("base", {})


def changes(variant: type[Variant], base: Recipe, only: list[str] | None, add: list[str]) -> list[Change]:
    """The base; each technique that it lacks added alone; each that it has removed alone; all of them together.

    Args:
        only: techniques to consider; None: all of the variant's.
        add: further rows: the name of a technique, or FIELD=VALUE of the recipe.

    Raises:
        UsageError: the variant has no techniques, or none of such a name; a row that changes nothing.
    """
    if not variant.techniques and not add:
        raise UsageError(
            f"variant {variant.name!r} names no techniques to add or remove (`techniques` in its class). "
            "Give changes of its recipe with --add FIELD=VALUE."
        )
    names = list(variant.techniques) if only is None else [_known(variant, name) for name in only]
    rows = [BASE, *(_toggled(name, variant.techniques[name], base) for name in names)]
    rows += [_further(variant, base, entry) for entry in add]
    if len(names) > 1:
        everything = {k: v for name in names for k, v in variant.techniques[name].on.items()}
        rows.append(Change("all", {k: v for k, v in everything.items() if getattr(base, k) != v}))
    seen: dict[str, Change] = {}
    for row in rows:
        seen.setdefault(json.dumps(dict(row.fields), sort_keys=True), row)  # "all" may be one technique's row
    return list(seen.values())


def _known(variant: type[Variant], name: str) -> str:
    if name not in variant.techniques:
        elsewhere = not_taken(variant.name, name)
        hint = f"{name} is {elsewhere}" if elsewhere else ""
        raise unknown(f"technique of {variant.name}", name, variant.techniques, hint)
    return name


def _toggled(name: str, technique: Technique, base: Recipe) -> Change:
    removed = technique.is_on(base)
    fields = technique.off if removed else technique.on
    return Change(f"{'-' if removed else '+'} {name}", {k: v for k, v in fields.items() if getattr(base, k) != v})


def _further(variant: type[Variant], base: Recipe, entry: str) -> Change:
    field, equals, text = entry.partition("=")
    if not equals:
        name = _known(variant, entry)
        return _toggled(name, variant.techniques[name], base)
    value = parse_value(text)
    if getattr(override(base, variant.name, {field: value}), field) == getattr(base, field):
        raise UsageError(f"--add {entry}: the base has that value already.")
    return Change(entry, {field: value})
