"""Suites: what a YAML file may set."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.datasets import parse_budgets
from bench.errors import UsageError
from bench.grid import suites
from bench.grid.options import parse_names, parse_seeds


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


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
"""
    assert suites.load(write(tmp_path, text)) == {
        "variants": "fm,triple", "dataset": "digits", "labels": "20,10%,all", "label_selection": "random",
        "seeds": "1,4,7", "protocol": "paper", "set": ["fm.lr=0.1", "triple.generator=[4, 4]"], "steps": 100,
        "scale": 0.1, "validation": 50, "unlabelled": 0,
    }  # fmt: skip


def test_single_values_need_no_list(tmp_path: Path) -> None:
    assert suites.load(write(tmp_path, "variants: fm\nlabels: 20\nseeds: 10")) == {
        "variants": "fm", "labels": "20", "seeds": "10"
    }  # fmt: skip


def test_a_list_of_one_seed_is_that_seed_and_no_count(tmp_path: Path) -> None:
    assert parse_seeds(suites.load(write(tmp_path, "seeds: [3]"))["seeds"]) == [3]
    assert parse_seeds(suites.load(write(tmp_path, "seeds: 3"))["seeds"]) == [0, 1, 2]


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


def test_our_own_suites_load_and_say_what_they_are() -> None:
    assert suites.names()
    for name in suites.names():
        loaded = suites.load(name)
        assert suites.about(name)
        assert "\n" not in suites.about(name)
        parse_names(loaded["variants"], "--variants")
        parse_seeds(loaded["seeds"])
        parse_budgets(loaded["labels"], 1297)
