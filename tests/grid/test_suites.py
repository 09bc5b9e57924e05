"""Suites: what a YAML file may set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import registry
from bench.datasets import Dataset, parse_budgets
from bench.errors import UsageError
from bench.grid import Options, plan, suites
from bench.grid.options import parse_names, parse_seeds
from bench.grid.plan import Row


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def options(path: str) -> dict[str, Any]:
    """Those of a suite of one grid."""
    (part,) = suites.load(path).parts
    return part


def test_every_key_is_an_option_as_it_would_be_typed(tmp_path: Path) -> None:
    text = """
about: all keys
source: nobody
deviations: none
variants: [fm, triple]
dataset: digits
labels: [20, 10%, all]
label_selection: random
seeds: [1, 4, 7]
protocol: paper
set: [fm.lr=0.1, "triple.generator=[4, 4]"]
steps: 100
scale: 1e-1
validation: 50
unlabelled: 0
image_size: 64
"""
    assert options(write(tmp_path, text)) == {
        "variants": "fm,triple", "dataset": "digits", "labels": "20,10%,all", "label_selection": "random",
        "seeds": "1,4,7", "protocol": "paper", "set": ["fm.lr=0.1", "triple.generator=[4, 4]"], "steps": 100,
        "scale": 0.1, "validation": 50, "unlabelled": 0, "image_size": 64,
    }  # fmt: skip


def test_layouts_are_named_in_a_list(tmp_path: Path) -> None:
    assert suites.load(write(tmp_path, "layouts: [table2, badgan]")).layouts == ("table2", "badgan")
    assert suites.load(write(tmp_path, "labels: 20")).layouts == ()
    with pytest.raises(UsageError, match="layouts must be a list"):
        suites.load(write(tmp_path, "layouts: table2"))


def test_a_suite_in_pieces(tmp_path: Path) -> None:
    loaded = suites.load(write(tmp_path, "pieces: true\nspeed: reports/speed.md\nresults: mine\nscale: fit"))
    assert (loaded.pieces, loaded.speed, loaded.results) == (True, Path("reports/speed.md"), "mine")
    assert loaded.parts == ({"scale": "fit"},)
    plain = suites.load(write(tmp_path, "labels: 20"))
    assert (plain.pieces, plain.speed, plain.results) == (False, None, None)


def test_single_values_need_no_list(tmp_path: Path) -> None:
    assert options(write(tmp_path, "variants: fm\nlabels: 20\nseeds: 10")) == {
        "variants": "fm", "labels": "20", "seeds": "10"
    }  # fmt: skip


def test_a_list_of_one_seed_is_that_seed_and_no_count(tmp_path: Path) -> None:
    assert parse_seeds(options(write(tmp_path, "seeds: [3]"))["seeds"]) == [3]
    assert parse_seeds(options(write(tmp_path, "seeds: 3"))["seeds"]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("variant: fm", "unknown key of suite mine.yaml 'variant'. Did you mean 'variants'"),
        ("jobs: 2", "unknown key of suite mine.yaml 'jobs'"),
        ("variants: []", "variants must be text"),
        ("variants: null", "variants must be text"),
        ("variants: {fm: 1}", "variants must be text"),
        ("variants: [[fm]]", "variants must be text"),
        ("seeds: 1.5", "seeds must be text"),
        ("seeds: true", "seeds must be text"),
        ("labels: [20, null]", "labels must be text"),
        ("steps: many", "steps must be a number"),
        ("steps: 1.5", "steps must be a number"),
        ("steps: true", "steps must be a number"),
        ("scale: [1]", "scale must be a number"),
        ("scale: fits", "scale must be a number"),
        ("scale: fit", "need `pieces: true`"),
        ("speed: speed.md", "need `pieces: true`"),
        ("pieces: 3", "pieces must be true or false"),
        ("results: 3", "results must be the name of a file or folder"),
        ("results: ''", "results must be the name of a file or folder"),
        ("pieces: true\nspeed: [a.md]", "speed must be the name of a file or folder"),
        ("validation: null", "validation must be a number"),
        ("set: fm.lr=1", "set must be a list"),
        ("set: [3]", "set must be a list"),
        ("set: {fm.lr: 1}", "set must be a list"),
        ("- variants", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("variants: [fm", "no plain YAML"),
        ("variants: !!python/name:os.system", "no plain YAML"),
    ],
)
def test_bad_suites_are_refused(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        suites.load(write(tmp_path, text))


def test_missing_suites_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        suites.load(str(tmp_path / "absent.yaml"))
    with pytest.raises(UsageError, match=r"unknown suite 'nonsense'.*path of a .yaml file"):
        suites.load("nonsense")
    with pytest.raises(UsageError, match="unknown suite"):
        suites.load("../suites/digits")


def test_parts_are_grids_that_differ_from_the_whole(tmp_path: Path) -> None:
    text = (
        "variants: fm\nseeds: 3\nparts:\n - {dataset: mnist, labels: 100}\n - {dataset: svhn, labels: 1000, seeds: 2}"
    )
    assert suites.load(write(tmp_path, text)).parts == (
        {"variants": "fm", "seeds": "3", "dataset": "mnist", "labels": "100"},
        {"variants": "fm", "seeds": "2", "dataset": "svhn", "labels": "1000"},
    )


def test_rows_may_be_like_others(tmp_path: Path) -> None:
    text = """
variants: [a, b]
rows:
  a: {variant: fm, set: {lr: 1e-3, generator: [4, 4]}}
  b: {like: a, set: {lr: 0.01}}
"""
    assert suites.load(write(tmp_path, text)).rows == {
        "a": Row("fm", {"lr": 1e-3, "generator": [4, 4]}),
        "b": Row("fm", {"lr": 0.01, "generator": [4, 4]}),
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rows: [a]", "must hold `variant`"),
        ("rows: {a: {}}", "row 'a' must hold `variant`"),
        ("rows: {a: {like: b}, b: {variant: fm}}", "row above"),
        ("rows: {a: {variant: fm, fields: {}}}", "row 'a'"),
        ("rows: {a: {variant: fm, set: [lr]}}", "row 'a'"),
        ("parts: []", "parts must be a list"),
        ("parts: {dataset: mnist}", "parts must be a list"),
        ("parts: [{about: x}]", "unknown key of suite mine.yaml 'about'"),
        ("parts: [{rows: {}}]", "unknown key of suite mine.yaml 'rows'"),
    ],
)
def test_bad_rows_and_parts_are_refused(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        suites.load(write(tmp_path, text))


def test_a_row_is_the_recipe_under_its_own_name(digits: Dataset) -> None:
    rows = {"mine": Row("fm", {"lr": 0.004}), "other": Row("nothing")}
    options = Options(variants="mine,fm", labels="20", seeds="1", rows=rows, settings=["mine.beta1=0.7"])
    mine, fm = plan(options, digits)
    (typed,) = plan(replace(options, variants="fm", settings=["fm.lr=0.004", "fm.beta1=0.7"]), digits)
    assert (mine.label, fm.label, typed.label) == ("mine[beta1=0.7]", "fm", "fm[beta1=0.7,lr=0.004]")
    assert mine.id == typed.id
    assert mine.overrides == typed.overrides  # so that `bench show` can name a command without the suite
    with pytest.raises(UsageError, match=r"unknown variant 'min'.*Did you mean 'mine'"):
        plan(replace(options, variants="min", settings=[]), digits)
    with pytest.raises(UsageError, match="unknown variant 'nothing'"):
        plan(replace(options, variants="other", settings=[]), digits)
    with pytest.raises(UsageError, match=r"mine.hidden_dropout has no effect while mine.network is mlp"):
        plan(replace(options, settings=["mine.hidden_dropout=0.1"]), digits)


def test_smoke_cuts_a_row_down_after_its_fields_are_set(digits: Dataset) -> None:
    options = Options(variants="mine", labels="20", seeds="1", protocol="smoke")
    rows = {"mine": Row("fm", {"batch": 200, "steps": 5000, "lr": 0.5})}
    (run,) = plan(replace(options, rows=rows), digits)
    assert (run.steps, run.recipe["batch"], run.recipe["lr"]) == (20, 8, 0.5)
    with pytest.raises(UsageError, match="beyond the smoke protocol"):
        plan(replace(options, rows=rows, settings=["mine.batch=200"]), digits)


def test_our_own_suites_load_and_say_what_they_are() -> None:
    assert suites.names()
    for name in suites.names():
        loaded = suites.load(name)
        assert suites.about(name)
        assert "\n" not in suites.about(name)
        named = [name for part in loaded.parts for name in parse_names(part["variants"], "--variants")]
        assert set(named) <= {*registry.names(), *loaded.rows}
        assert set(loaded.rows) <= set(named)
        for part in loaded.parts:
            parse_seeds(part["seeds"])
            parse_budgets(part["labels"], 60_000)
