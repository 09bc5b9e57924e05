"""Nothing unlike is pooled: every difference between runs, except the seed, shows in a label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from bench.analysis.cells import cells
from bench.analysis.policies import POLICIES
from bench.analysis.runs import runs_frame, select
from bench.errors import UsageError
from bench.store import Record

MakeRecord = Callable[..., Record]

LABELS = ["dataset", "protocol", "variant", "budget"]


def labels(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(frame[LABELS].itertuples(index=False, name=None))


def test_one_row_per_run_in_the_agreed_columns(record: MakeRecord) -> None:
    frame = runs_frame([record([50, 30], seed=3), record([60, 20], status="diverged", seed=4)], "last")
    names = "id dataset protocol variant base_variant budget selection validation unlabelled seed status policy"
    assert list(frame.columns)[:15] == [*names.split(), "errors", "test_images", "accuracy"]
    first, second = frame.iloc[0], frame.iloc[1]
    assert (first["id"], first["seed"], first["status"], first["policy"]) == ("0000000000000001", 3, "done", "last")
    assert (first["errors"], first["test_images"], first["accuracy"]) == (30, 200, 85)
    assert second["status"] == "diverged"
    assert second[["errors", "accuracy"]].isna().all()


@pytest.mark.parametrize(
    ("change", "protocol", "variant"),
    [
        ({"selection": "random"}, "common (random)", "fm"),
        ({"selection": "file:0123"}, "common (file:0123)", "fm"),
        ({"validation": 100}, "common+v100", "fm"),
        ({"unlabelled": 500}, "common+u500", "fm"),
        ({"unlabelled": 500, "validation": 7, "selection": "first"}, "common+v7+u500 (first)", "fm"),
        ({"protocol": "common@0.1"}, "common@0.1", "fm"),
        ({"overrides": {"lr": 0.3}, "recipe": {"lr": 0.3}}, "common", "fm[lr=0.3]"),
        ({"variant": "bad"}, "common", "bad"),
    ],
)
def test_a_visible_difference_makes_another_cell(
    record: MakeRecord, change: dict[str, Any], protocol: str, variant: str
) -> None:
    frame = runs_frame([record([10]), record([20], **change)], "last")
    assert sorted(labels(frame)) == sorted([("digits", "common", "fm", 20), ("digits", protocol, variant, 20)])


@pytest.mark.parametrize("change", [{"recipe": {"lr": 0.3}}, {"version": 2}])
def test_different_recipes_of_one_label_are_told_apart_by_hash(record: MakeRecord, change: dict[str, Any]) -> None:
    runs = [record([10], seed=0), record([20], seed=1, **change), record([30], seed=0, budget=50, **change)]
    frame = runs_frame([*runs, record([40], seed=0, protocol="paper")], "last")
    table = cells(frame)
    names = dict(zip(table["mean"], table["variant"], strict=True))
    one, other, other_at_50 = names[95], names[90], names[85]
    assert one != other == other_at_50  # one label for one recipe, whatever the budget
    assert all(name.startswith("fm#") and len(name) == len("fm#1a2b3c4d") for name in (one, other))
    assert names[80] == "fm"  # only there where it is needed


def test_the_resolved_length_may_depend_on_the_budget(record: MakeRecord) -> None:
    frame = runs_frame([record([10]), record([10], budget=50, steps=390, recipe={"steps": 390})], "last")
    assert set(frame["variant"]) == {"fm"}


def test_different_lengths_of_one_budget_are_told_apart(record: MakeRecord) -> None:
    frame = runs_frame([record([10], seed=0), record([10], seed=1, steps=390, recipe={"steps": 390})], "last")
    assert set(frame["variant"]) == {"fm (400 steps)", "fm (390 steps)"}


def test_different_contents_of_one_dataset_are_told_apart(record: MakeRecord) -> None:
    frame = runs_frame([record([10], seed=0), record([10], seed=1, dataset_hash="sha256:" + "e" * 64)], "last")
    assert set(frame["dataset"]) == {"digits#dddddddd", "digits#eeeeeeee"}
    assert len(select(frame, dataset="digits")) == 2
    assert len(select(frame, dataset="digits#eeeeeeee")) == 1


def test_a_variant_called_like_another_s_override_stays_itself(record: MakeRecord) -> None:
    override = record([10], overrides={"lr": 0.3})
    frame = runs_frame([override, record([20], variant="fm[lr=0.3]", seed=1)], "last")
    assert frame["variant"].nunique() == 2


def test_a_later_switch_at_its_neutral_value_makes_no_other_recipe(record: MakeRecord) -> None:
    runs = [record([10], seed=0), record([20], seed=1, recipe={"switch": 0})]
    assert runs_frame(runs, "last")["variant"].nunique() == 2
    frame = runs_frame(runs, "last", identity=lambda run: {k: v for k, v in run.recipe.items() if k != "switch"})
    assert set(frame["variant"]) == {"fm"}


def test_a_seed_counts_once(record: MakeRecord) -> None:
    with pytest.raises(UsageError, match=r"seed 4 of digits, common, fm, 20 labels.*0{15}2, 0{15}3"):
        runs_frame([record([10], seed=1), record([10], seed=4), record([10], seed=4)], "last")


def test_the_baseline_comes_first_and_budgets_ascend(record: MakeRecord) -> None:
    runs = [record([1], budget=b, variant=v) for v in ("triple", "supervised", "bad") for b in (100, 20)]
    frame = runs_frame(runs, "last")
    assert list(zip(frame["variant"], frame["budget"], strict=True)) == [
        *(("supervised", 20), ("supervised", 100), ("bad", 20), ("bad", 100), ("triple", 20), ("triple", 100)),
    ]


@pytest.mark.parametrize("policy", POLICIES)
def test_no_records_no_rows(policy: str) -> None:
    assert runs_frame([], policy).empty


# --- selecting -------------------------------------------------------------------------------------------------------


@pytest.fixture
def frame(record: MakeRecord) -> pd.DataFrame:
    runs = [record([1], dataset=d, variant=v) for d in ("digits", "mnist") for v in ("bad", "fm", "triple")]
    return runs_frame([*runs, record([2], overrides={"lr": 0.3}, recipe={"lr": 0.3})], "last")


def test_variants_are_selected_by_name_or_label_in_the_order_asked_for(frame: pd.DataFrame) -> None:
    chosen = select(frame, ["triple", "fm", "fm[lr=0.3]"])
    names = list(zip(chosen["dataset"], chosen["variant"], strict=True))
    assert names == [
        *(("digits", "triple"), ("digits", "fm"), ("digits", "fm[lr=0.3]"), ("mnist", "triple"), ("mnist", "fm")),
    ]
    assert list(select(frame, ["fm[lr=0.3]"], "digits")["errors"]) == [2]
    assert select(frame).equals(frame)


def test_what_is_not_there_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"unknown variant 'tripel'.*'triple'"):
        select(frame, ["fm", "tripel"])
    with pytest.raises(UsageError, match=r"unknown dataset 'mnits'.*'mnist'"):
        select(frame, dataset="mnits")
    with pytest.raises(UsageError, match=r"unknown variant 'fm\[lr=0.3\]'"):
        select(frame, ["fm[lr=0.3]"], "mnist")
