"""The words of the command line, parsed: lists, ranges, settings, YAML files. Every refusal names its option."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bench import registry
from bench.errors import UsageError, shorten, unknown
from bench.variant import Recipe

Settings = dict[str, dict[str, Any]]  # variant -> recipe field -> value
MOST_SEEDS = 100_000


def parse_names(text: str, option: str) -> list[str]:
    """A comma-separated list of names, in order, each once."""
    names = [name.strip() for name in _split(text)]
    if not all(names):
        raise UsageError(f"{option}: {shorten(text)!r} has an empty entry. Give names separated by single commas.")
    return list(dict.fromkeys(names))


def _split(text: str) -> list[str]:
    """At commas, but not within brackets: a label such as `fm[lr=0.1,classifier=[64, 32]]` is one name."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def parse_seeds(text: str) -> list[int]:
    """`10` is a count (seeds 0 to 9), `3-7` a range, `1,4,7` a list (a list may hold ranges)."""
    entries = [entry.strip() for entry in text.split(",")]
    allowed = "Allowed: a count such as 10 (seeds 0 to 9), a range such as 0-9, or a list such as 1,4,7."
    seeds: list[int] = []
    for entry in entries:
        found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", entry)
        if not found:
            raise UsageError(f"--seeds: {shorten(entry)!r} is no seed. {allowed}")
        first, last = int(found[1]), int(found[2] or found[1])
        if len(entries) == 1 and found[2] is None:
            if first < 1:
                raise UsageError(f"--seeds {text}: a count must be at least 1. {allowed}")
            first, last = 0, first - 1
        if last < first or last - first >= MOST_SEEDS:
            raise UsageError(f"--seeds: {entry!r} runs backwards or holds more than {MOST_SEEDS} seeds. {allowed}")
        seeds += range(first, last + 1)
    return list(dict.fromkeys(seeds))


def parse_settings(entries: list[str]) -> Settings:
    """`VARIANT.FIELD=VALUE` entries of `--set`; values are JSON (numbers, true, null, lists), anything else is text."""
    settings: Settings = {}
    for entry in entries:
        found = re.fullmatch(r"\s*([^.=\s]+)\.([^.=\s]+)\s*=\s*(.*?)\s*", entry, re.DOTALL)
        if not found or not found[3]:
            raise UsageError(f"--set: {shorten(entry)!r} is malformed. Give VARIANT.FIELD=VALUE, such as fm.lr=0.003.")
        settings.setdefault(found[1], {})[found[2]] = parse_value(found[3])
    return settings


def parse_value(text: Any) -> Any:
    """Text as JSON where it is JSON: YAML reads 1e-3 as text, JSON as a number."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class _PlainLoader(yaml.SafeLoader):
    """Refuses aliases, with which a short text can stand for an endless or enormous one, and keys given twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases such as *name are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """A YAML mapping; anything that would make Python objects is refused.

    Raises:
        UsageError: no such file, broken YAML, or no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)
    except OSError as error:
        raise UsageError(f"{what} {shorten(path)!r} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        problem = getattr(error, "problem", None) or type(error).__name__
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise UsageError(f"{what} {shorten(path)!r} is no plain YAML: {shorten(problem, 200)}{where}.") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"{what} {shorten(path)!r} must hold a mapping of names to values.")
    return content


def read_recipe_file(path: Path) -> Settings:
    """A file for `--recipe`: variant -> recipe field -> value."""
    content = read_yaml(path, "--recipe")
    for variant, fields in content.items():
        if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
            raise UsageError(f"--recipe {shorten(path)!r}: {variant!r} must map recipe fields to values.")
    return {
        variant: {name: parse_value(value) for name, value in fields.items()} for variant, fields in content.items()
    }


def override(recipe: Recipe, variant: str, fields: Mapping[str, Any]) -> Recipe:
    """The recipe with some fields set.

    Raises:
        UsageError: unknown field, wrong type, out of range.
    """
    kind = type(recipe)
    for name in fields:
        if name not in kind.model_fields:
            raise unknown(f"recipe field of {variant}", name, kind.model_fields, _technique(variant, name))
    try:
        text = json.dumps({**recipe.model_dump(mode="json"), **fields})
        return kind.model_validate_json(text, strict=True)
    except (ValidationError, TypeError) as error:
        raise UsageError(_complaint(error, variant, kind, fields)) from error


def _technique(variant: str, field: str) -> str:
    """Why a variant lacks a technique's field that others have; nothing for any other field."""
    names = {t for n in registry.names() for t, parts in registry.get(n).techniques.items() if field in parts.on}
    return " ".join(f"{field} switches {name}, {not_taken(variant, name)}" for name in sorted(names))


def not_taken(variant: str, technique: str) -> str:
    """Who has a technique that the variant has not; nothing for what is no technique."""
    owners = [name for name in registry.names() if technique in registry.get(name).techniques]
    return f"a technique of {', '.join(owners)}; {variant} does not take it." if owners else ""


def _complaint(error: ValidationError | TypeError, variant: str, kind: type[Recipe], fields: Mapping[str, Any]) -> str:
    if isinstance(error, TypeError):
        return f"{variant}: a recipe field holds a value that is no number, text, list or null: {shorten(error)}."
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else next(iter(fields))
    why = kind.model_fields[name].description if name in kind.model_fields else ""
    form = " Values are written as in JSON: 0.01, true, null, [64, 32]." if first["type"].endswith("_type") else ""
    value = first["input"] if first["loc"] else fields[name]  # without a place, the input is the whole recipe
    return f"{variant}.{name}={shorten(value)}: {first['msg'].removeprefix('Value error, ')}. ({name}: {why}){form}"
