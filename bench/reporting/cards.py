"""What is said of a method, from its own file: the docstring in blocks, and the facts of each recipe field.

The docstring of a variant's module begins with a title. Paragraphs that are indented, or aligned in columns, are
formulas; numbered lines are a list, an item of which may go on over further lines; all else is text.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from textwrap import dedent
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from bench import registry
from bench.variant import Variant

_COLUMNS = re.compile(r"[^\s.:!?] {2,}\S")  # a gap that no end of a sentence explains
_ITEM = re.compile(r"(\d+)\. +(.*)")
_KINDS: Mapping[Any, str] = {bool: "true or false", int: "whole number", float: "number", str: "text", NoneType: "null"}


@dataclass(frozen=True)
class Block:
    """A piece of a docstring: `text` is a paragraph in one line, `code` keeps its lines, `list` has items."""

    kind: Literal["text", "code", "list"]
    text: str = ""
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class FieldFacts:
    """A recipe field, in words.

    Attributes:
        allowed: its type and range.
        neutral: for a switch, the value that means "off"; None: it is no switch.
        values: by protocol and dataset or shape class (`paper, grey`), written as `--set` takes them.
    """

    name: str
    why: str
    allowed: str
    neutral: str | None
    values: Mapping[str, str]


@dataclass(frozen=True)
class Card:
    """All that is said of a method."""

    name: str
    title: str
    blocks: tuple[Block, ...]
    fields: tuple[FieldFacts, ...]


def card(name: str) -> Card:
    """The card of a variant.

    Raises:
        UsageError: no such variant.
    """
    variant = registry.get(name)
    title, blocks = read_docstring(sys.modules[variant.__module__].__doc__ or name)
    return Card(name, title, blocks, tuple(_facts(variant, field) for field in variant.recipe_type.model_fields))


# --- the docstring ---------------------------------------------------------------------------------------------------


def read_docstring(text: str) -> tuple[str, tuple[Block, ...]]:
    """The title, which is the first paragraph, and the blocks after it."""
    title, *paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return _one_line(title.splitlines()), tuple(block for paragraph in paragraphs for block in _blocks(paragraph))


def _blocks(paragraph: str) -> Iterator[Block]:
    lines = paragraph.splitlines()
    if all(line.startswith(" ") for line in lines) or any(map(_COLUMNS.search, lines)):
        yield Block("code", dedent(paragraph))
        return
    words, items = _split_items(lines)
    if words:
        yield Block("text", _one_line(words))
    if items:
        yield Block("list", items=tuple(map(_one_line, items)))


def _split_items(lines: Iterable[str]) -> tuple[list[str], list[list[str]]]:
    """The lines before a list, and those of its items, numbered from 1 (so that no year begins one)."""
    words: list[str] = []
    items: list[list[str]] = []
    for line in lines:
        found = _ITEM.match(line)
        if found and int(found[1]) == len(items) + 1:
            items.append([found[2]])
        else:
            (items[-1] if items else words).append(line)
    return words, items


def _one_line(lines: Iterable[str]) -> str:
    return " ".join(line.strip() for line in lines)


# --- the recipe ------------------------------------------------------------------------------------------------------


def _facts(variant: type[Variant], name: str) -> FieldFacts:
    kind = variant.recipe_type
    info = kind.model_fields[name]
    values = {
        f"{protocol}, {data}": as_typed(recipe.model_dump(mode="json")[name])
        for protocol, table in variant.recipes.items()
        for data, recipe in table.items()
    }
    neutral = as_typed(kind.neutral(name)) if kind.has_neutral(name) else None
    return FieldFacts(name, info.description or "", allowed(info.annotation, info.metadata), neutral, values)


def as_typed(value: Any) -> str:
    """A value as `--set` takes it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def allowed(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """A type and its constraints in words, such as `number above 0, at most 1`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        own = [rule for part in arguments[1:] for rule in (part.metadata if isinstance(part, FieldInfo) else [part])]
        return allowed(arguments[0], [*own, *metadata])
    if origin in (Union, UnionType):  # the constraints are those of the kinds of values that can have some
        null_first = sorted(arguments, key=lambda kind: kind is not NoneType)
        return ", or ".join(allowed(kind, metadata) for kind in null_first)
    if origin is Literal:
        return " or ".join(map(as_typed, arguments)) if len(arguments) < 3 else f"one of {_names(arguments)}"
    if origin in (tuple, list):
        return f"list{_length(_bounds(metadata))}, each a {allowed(arguments[0])}"
    word = _KINDS.get(annotation, str(annotation))
    return word + _range(_bounds(metadata)) if annotation in (int, float) else word


def _bounds(metadata: Iterable[Any]) -> dict[str, Any]:
    """Those of `ge`, `gt`, `le`, `lt`, `min_length` that are set."""
    names = ("ge", "gt", "le", "lt", "min_length")
    return {name: getattr(part, name) for part in metadata for name in names if getattr(part, name, None) is not None}


def _range(bounds: Mapping[str, Any]) -> str:
    if "ge" in bounds and "le" in bounds:
        return f" from {_number(bounds['ge'])} to {_number(bounds['le'])}"
    words = {"ge": "from", "gt": "above", "le": "at most", "lt": "below"}
    parts = [f"{word} {_number(bounds[name])}" for name, word in words.items() if name in bounds]
    return f" {', '.join(parts)}" if parts else ""


def _length(bounds: Mapping[str, Any]) -> str:
    return f" of at least {bounds['min_length']}" if "min_length" in bounds else ""


def _names(values: Iterable[Any]) -> str:
    return ", ".join(map(as_typed, values))


def _number(value: float) -> str:
    return f"{int(value) if value == int(value) else value:,}"
