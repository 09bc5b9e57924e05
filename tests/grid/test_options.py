"""The words of the command line, parsed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import registry
from bench.errors import UsageError
from bench.grid.options import (
    override,
    parse_names,
    parse_seeds,
    parse_settings,
    parse_value,
    read_recipe_file,
    read_yaml,
)
from bench.variant import Recipe, Width, setting

SEED = st.integers(0, 10_000)
WORD = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)


class ToyRecipe(Recipe):
    batch: int = setting(100, "images per step", ge=1, le=1000)
    widths: tuple[Width, ...] = setting((8, 4), "hidden widths", min_length=1)
    kind: Literal["conv", "mlp"] = setting("conv", "the network")
    switch: bool = setting(False, "whether it is on", neutral=False)
    extra: int | None = setting(None, "a number or nothing", ge=1)


# --- names ---


@given(st.lists(WORD, min_size=1, max_size=6), st.sampled_from(["", " "]))
def test_names_are_kept_in_order_each_once(names: list[str], space: str) -> None:
    assert parse_names(f"{space},{space}".join(names), "--variants") == sorted(set(names), key=names.index)


def test_labels_with_commas_are_one_name() -> None:
    labels = ["fm[lr=0.1,classifier=[64, 32],steps=3]", "triple", "fm[lr=0.3]"]
    assert parse_names(",".join(labels), "--variants") == labels


@pytest.mark.parametrize("text", ["", ",", "fm,", ",fm", "fm,,triple", " "])
def test_empty_entries_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--variants: .* empty entry"):
        parse_names(text, "--variants")


# --- seeds ---


@given(st.integers(1, 2000))
def test_a_single_number_is_a_count(count: int) -> None:
    assert parse_seeds(str(count)) == list(range(count))


@given(SEED, st.integers(0, 200))
def test_a_range_holds_both_its_ends(first: int, extent: int) -> None:
    assert parse_seeds(f"{first}-{first + extent}") == list(range(first, first + extent + 1))


@given(st.lists(st.one_of(SEED, st.tuples(SEED, st.integers(0, 5))), min_size=2, max_size=6))
def test_a_list_may_hold_seeds_and_ranges_each_seed_once(parts: list[Any]) -> None:
    texts, expected = [], []
    for part in parts:
        first, extent = part if isinstance(part, tuple) else (part, 0)
        texts.append(f"{first}-{first + extent}" if isinstance(part, tuple) else str(first))
        expected += [seed for seed in range(first, first + extent + 1) if seed not in expected]
    assert parse_seeds(", ".join(texts)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "1.5", "ten", "1,", ",1", "1,,2", "5-3", "3-", "-3", "1-2-3", "1e3", "0x1", "٣", "0-100000",
     "1234567890", "1,5-3", "1;2", "9" * 500],
)  # fmt: skip
def test_anything_else_is_no_seed(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds") as error:
        parse_seeds(text)
    assert "such as" in str(error.value)
    assert len(str(error.value)) < 400


@given(st.text(max_size=20))
def test_any_text_gives_seeds_or_a_usage_error(text: str) -> None:
    try:
        seeds = parse_seeds(text)
    except UsageError:
        return
    assert seeds
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0


# --- settings ---

JSON = st.one_of(
    st.integers(-(10**6), 10**6), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(),
    st.lists(st.integers(0, 99), max_size=4),
)  # fmt: skip


@given(st.dictionaries(WORD, JSON, min_size=1, max_size=4), WORD)
def test_settings_are_read_back(fields: dict[str, Any], variant: str) -> None:
    entries = [f"{variant}.{name}={json.dumps(value)}" for name, value in fields.items()]
    assert parse_settings(entries) == {variant: fields}


def test_settings_by_variant_the_last_one_wins() -> None:
    entries = ["fm.lr=1e-3", "triple.lr = 2", "fm.lr=0.5", "fm.kind=conv", "fm.text=a=b.c", "fm.widths=[8, 4]"]
    assert parse_settings(entries) == {
        "fm": {"lr": 0.5, "kind": "conv", "text": "a=b.c", "widths": [8, 4]}, "triple": {"lr": 2}
    }  # fmt: skip


@pytest.mark.parametrize(
    "entry", ["", "fm", "fm.lr", "fm.lr=", "lr=3", "=3", "fm.=3", ".lr=3", "fm.lr.x=3", "f m.lr=3"]
)
def test_malformed_settings_are_refused(entry: str) -> None:
    with pytest.raises(UsageError, match=r"--set: .* malformed"):
        parse_settings([entry])


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '{"a":' * 50_000])
def test_absurd_json_is_just_text(text: str) -> None:
    assert parse_value(text) == text


# --- YAML ---


def write(folder: Path, text: str, name: str = "file.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


BROKEN = {
    "a tag that makes a Python object": "fm: !!python/object/apply:os.system ['true']",
    "a Python tuple": "fm: !!python/tuple [1, 2]",
    "unbalanced brackets": "fm: [1, 2",
    "a tab for indentation": "fm:\n\tlr: 1",
    "an undefined alias": "fm: *nowhere",
    "two documents": "fm: 1\n---\nfm: 2",
    "a duplicate anchor loop": "a: &a [*b]",
    "a list": "- fm\n- triple",
    "a text": "just words",
    "a number": "3",
    "nothing": "",
    "keys that are no text": "1: 2",
    "deep nesting": "a: " + "[" * 1000,
    "a key that is given twice": "fm: {lr: 1}\nfm: {lr: 2}",
    "a key that is given twice further in": "fm: {lr: 1, lr: 2}",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_yaml_that_is_no_plain_mapping_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"file\.yaml"):
        read_yaml(write(tmp_path, text), "--recipe")


def test_a_python_object_is_not_made(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(UsageError, match="line 1"):
        read_yaml(write(tmp_path, f"a: !!python/object/apply:os.mkdir ['{target}']"), "--suite")
    assert not target.exists()


@pytest.mark.parametrize("make", [lambda p: p / "absent.yaml", lambda p: p], ids=["missing", "a folder"])
def test_unreadable_files_are_refused(make: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_yaml(make(tmp_path), "--recipe")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(b"a: \xff\xfe\x00")
    with pytest.raises(UsageError, match="no plain YAML"):
        read_yaml(path, "--recipe")


def test_recipe_files_read_numbers_that_yaml_takes_for_text(tmp_path: Path) -> None:
    path = write(tmp_path, "fm: {lr: 1e-3, widths: [4, 2]}\ntriple: {kind: mlp, steps: null}")
    assert read_recipe_file(path) == {
        "fm": {"lr": 0.001, "widths": [4, 2]}, "triple": {"kind": "mlp", "steps": None}
    }  # fmt: skip


@pytest.mark.parametrize("text", ["fm: 3", "fm: [lr]", "fm: {1: 2}", "fm: null"])
def test_recipe_files_map_variants_to_fields(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'fm' must map recipe fields"):
        read_recipe_file(write(tmp_path, text))


# --- overrides ---


def test_override_sets_the_fields_and_no_others() -> None:
    recipe = ToyRecipe(steps=7)
    changed = override(recipe, "toy", {"batch": 50, "widths": [3], "kind": "mlp", "switch": True, "lr": 1})
    assert changed == ToyRecipe(steps=7, batch=50, widths=(3,), kind="mlp", switch=True, lr=1.0)
    assert isinstance(changed.widths, tuple)  # type: ignore[attr-defined]
    assert isinstance(changed.lr, float)
    assert recipe == ToyRecipe(steps=7)
    assert override(recipe, "toy", {}) == recipe


def test_an_unknown_field_names_its_nearest_match() -> None:
    with pytest.raises(UsageError, match=r"unknown recipe field of toy 'bacth'\. Did you mean 'batch'"):
        override(ToyRecipe(), "toy", {"bacth": 3})


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("batch", 0, "greater than or equal to 1"),
        ("batch", 1001, "less than or equal to 1000"),
        ("batch", 2.5, "integer"),
        ("batch", "ten", "integer"),
        ("batch", True, "integer"),
        ("batch", None, "integer"),
        ("batch", [3], "integer"),
        ("batch", 10**400, "less than or equal to 1000"),
        ("lr", 0, "greater than 0"),
        ("lr", 1.5, "less than or equal to 1"),
        ("lr", "fast", "number"),
        ("lr", float("nan"), "finite"),
        ("lr", float("inf"), "finite"),
        ("widths", [], "at least 1 item"),
        ("widths", [0], "greater than or equal to 1"),
        ("widths", [8, -1], "greater than or equal to 1"),
        ("widths", [10**9], "less than or equal to 65536"),
        ("widths", 8, "array"),
        ("widths", [2.5], "integer"),
        ("kind", "transformer", "'conv' or 'mlp'"),
        ("switch", "yes", "boolean"),
        ("switch", 1, "boolean"),
        ("extra", 0, "greater than or equal to 1"),
        ("steps", 0, "greater than or equal to 1"),
        ("evaluations", 0, "greater than or equal to 1"),
        ("evaluate_with", "best", "'raw' or 'ema'"),
        ("batch", {"a": 1}, "integer"),
    ],
)
def test_values_of_a_wrong_type_or_out_of_range_are_refused(field: str, value: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as error:
        override(ToyRecipe(), "toy", {field: value})
    assert str(error.value).startswith(f"toy.{field}=")
    assert ToyRecipe.model_fields[field].description in str(error.value)  # type: ignore[operator]
    assert len(str(error.value)) < 500


def test_values_that_are_no_json_are_refused() -> None:
    with pytest.raises(UsageError, match="toy: a recipe field holds a value"):
        override(ToyRecipe(), "toy", {"batch": object()})


def test_fields_that_do_not_fit_together_are_named_with_what_was_set() -> None:
    recipe = registry.get("vanilla").recipe_for("common", "digits", "grey")
    with pytest.raises(UsageError) as caught:
        override(recipe, "vanilla", {"adversarial_weight": 0.0})
    assert str(caught.value).startswith(
        "vanilla.adversarial_weight=0.0: matching_weight and adversarial_weight are 0: the generator learns nothing"
    )
