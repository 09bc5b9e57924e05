"""What cards say of the variants, beside the docstrings and the classes themselves."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import Field

from bench import registry
from bench.errors import UsageError
from bench.reporting.cards import Block, allowed, card, read_docstring


def words(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize("name", registry.names())
def test_no_word_of_a_docstring_is_lost(name: str) -> None:
    module = importlib.import_module(registry.get(name).__module__)
    docstring = inspect.getdoc(module) or ""
    without_numbers = re.sub(r"^\d\. ", "", docstring, flags=re.MULTILINE)
    found = card(name)
    pieces = [found.title, *(part for block in found.blocks for part in (block.text, *block.items))]
    assert [word for piece in pieces for word in words(piece)] == words(without_numbers)


@pytest.mark.parametrize("name", sorted(set(registry.names()) - {"majority"}))
def test_formulas_of_the_variants_are_code(name: str) -> None:
    formulas = [block.text for block in card(name).blocks if block.kind == "code"]
    assert any(re.search(r"\bL(_\w+)? +=", formula) for formula in formulas)


def test_all_kinds_of_blocks() -> None:
    title, blocks = read_docstring(
        """Some GAN: a title
        in two lines.

            L_D = a
                  + b

        Text of a
        paragraph:
        1. first, which
           goes on
        2. second, of
           2024. No item

        Closing words.  A sentence after two spaces.

        First:   L = 1
        Second:  L = 2,   so
        """
    )
    assert title == "Some GAN: a title in two lines."
    assert blocks == (
        Block("code", "L_D = a\n      + b"),
        Block("text", "Text of a paragraph:"),
        Block("list", items=("first, which goes on", "second, of 2024. No item")),
        Block("text", "Closing words.  A sentence after two spaces."),
        Block("code", "First:   L = 1\nSecond:  L = 2,   so"),
    )


def test_a_docstring_of_one_line_has_no_blocks() -> None:
    assert read_docstring("my-gan") == ("my-gan", ())


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'triple'"):
        card("tripel")


@pytest.mark.parametrize("name", registry.names())
def test_fields_are_those_of_the_recipes(name: str) -> None:
    variant = registry.get(name)
    recipes = {f"{p}, {data}": recipe for p, table in variant.recipes.items() for data, recipe in table.items()}
    facts = {field.name: field for field in card(name).fields}
    assert list(facts) == list(variant.recipe_type.model_fields)
    assert all(field.why and field.allowed for field in facts.values())
    assert all(list(field.values) == list(recipes) for field in facts.values())
    assert [facts["lr"].values[key] for key in recipes] == [repr(recipe.lr) for recipe in recipes.values()]
    assert facts["test_images"].neutral == "null"
    assert facts["lr"].neutral is None


def test_values_are_written_as_set_takes_them() -> None:
    facts = {field.name: field for field in card("fm").fields}
    assert facts["classifier"].values["common, digits"] == "[256, 128, 64]"
    assert facts["matching"].values["paper, grey"] == "mean-square"
    assert facts["matching"].values["paper, svhn"] == "l1"
    assert facts["lost_class"].neutral == "false"
    assert facts["matching"].neutral == "mean-square"


@pytest.mark.parametrize(
    ("annotation", "rules", "text"),
    [
        (bool, [], "true or false"),
        (str, [], "text"),
        (int, [Ge(1)], "whole number from 1"),
        (int, [Ge(1), Le(65536)], "whole number from 1 to 65,536"),
        (float, [Gt(0), Le(1)], "number above 0, at most 1"),
        (float, [Ge(0), Lt(0.5)], "number from 0, below 0.5"),
        (float, [Ge(0), Le(1e8)], "number from 0 to 100,000,000"),
        (int | None, [Ge(2)], "null, or whole number from 2"),
        (Literal["a", "b"], [], "a or b"),
        (Literal["a", 1, None], [], "one of a, 1, null"),
        (tuple[Annotated[int, Field(ge=3)], ...], [MinLen(2)], "list of at least 2, each a whole number from 3"),
    ],
)
def test_types_and_ranges_in_words(annotation: object, rules: list[object], text: str) -> None:
    assert allowed(annotation, rules) == text
