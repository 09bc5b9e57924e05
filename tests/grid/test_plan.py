"""From options to runs: identity, labels, schedules, limits."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import registry
from bench.datasets import Dataset, load
from bench.errors import UsageError
from bench.grid import Options, Run, plan, task_of
from bench.grid.plan import Row, index_file_of
from bench.grid.run import run_id
from bench.training.schedule import Schedule
from bench.variant import Draw, Phase, Recipe, Task, Variant, setting


class ToyRecipe(Recipe):
    widths: tuple[int, ...] = setting((8, 4), "hidden widths")


class ToyRecipeWithSwitch(ToyRecipe):
    """What the recipe looks like after somebody has added a switch that is off by default."""

    smoothing: float = setting(0.0, "label smoothing", neutral=0.0, ge=0, le=1)
    limit: int | None = setting(None, "a cap", neutral=None)


class Toy(Variant):
    name = "toy"
    version = 3
    recipe_type = ToyRecipe
    recipes = {"common": {"grey": ToyRecipe(steps=400)}, "paper": {"grey": ToyRecipe(epochs=3)}}

    def networks(self) -> Mapping[str, Any]:
        return {}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("main", 1.0, ()),)

    def draws(self) -> Mapping[str, Draw]:
        return {"labelled": Draw(5, "labelled"), "unlabelled": Draw(100, "all")}


class Greedy(Toy):
    name = "greedy"

    def draws(self) -> Mapping[str, Draw]:
        return {"unlabelled": Draw(100, "unlabelled")}


FACTS: dict[str, Any] = {
    "dataset_hash": "d" * 64, "budget": 20, "selection": "balanced", "seed": 4, "steps": 100, "validation": 0,
    "unlabelled": None, "precision": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_plugins", {"toy": Toy, "greedy": Greedy})


def runs(dataset: Dataset, **options: Any) -> list[Run]:
    return plan(Options(**{"variants": "toy", "labels": "20", "seeds": "1"} | options), dataset)


def one(dataset: Dataset, **options: Any) -> Run:
    (run,) = runs(dataset, **options)
    return run


# --- identity ---


def test_golden_ids() -> None:
    """SHA-256 of the identity as canonical JSON, computed apart. A change of these orphans every stored run."""
    assert run_id(Toy, ToyRecipe(steps=100), **FACTS) == "bc5e2762d80cc40e"
    assert run_id(Toy, ToyRecipe(steps=100), **FACTS | {"validation": 50, "unlabelled": 0}) == "415fb74893b67c76"


def test_every_fact_changes_the_id() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"dataset_hash": "e" * 64}, {"budget": 21}, {"selection": "random"}, {"seed": 5}, {"steps": 101},
        {"validation": 1}, {"unlabelled": 0}, {"unlabelled": 1}, {"precision": "fp32"}, {"precision": "tf32"},
    ]  # fmt: skip
    ids = [run_id(Toy, ToyRecipe(), **FACTS | change) for change in changes]
    ids += [run_id(Toy, ToyRecipe(**fields), **FACTS) for fields in (
        {"lr": 0.5}, {"widths": (8,)}, {"evaluations": 3}, {"evaluate_with": "ema"}, {"test_images": 3}
    )]  # fmt: skip
    ids += [run_id(kind, ToyRecipe(), **FACTS) for kind in (Greedy, type("V", (Toy,), {"version": 4}))]
    assert len(set(ids)) == len(ids)


def test_a_new_switch_that_is_off_changes_no_id_and_one_that_is_on_does() -> None:
    before = run_id(Toy, ToyRecipe(steps=100), **FACTS)
    assert run_id(Toy, ToyRecipeWithSwitch(steps=100), **FACTS) == before
    assert run_id(Toy, ToyRecipeWithSwitch(steps=100, smoothing=0.1), **FACTS) != before
    assert run_id(Toy, ToyRecipeWithSwitch(steps=100, limit=0), **FACTS) != before


def test_how_the_length_was_given_does_not_matter() -> None:
    ids = {run_id(Toy, recipe, **FACTS) for recipe in (ToyRecipe(steps=100), ToyRecipe(epochs=5), ToyRecipe(steps=7))}
    assert len(ids) == 1  # the resolved steps are a fact of their own


@given(st.permutations(["lr", "evaluations", "widths"]))
def test_the_order_of_settings_does_not_matter(order: list[str]) -> None:
    values = {"lr": 0.25, "evaluations": 7, "widths": (3, 2)}
    recipe = ToyRecipe(**{name: values[name] for name in order})
    assert run_id(Toy, recipe, **FACTS) == run_id(Toy, ToyRecipe(**values), **FACTS)


def test_ids_do_not_depend_on_paths(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 255, (40, 4, 4), dtype=np.uint8), "y_train": np.arange(40) % 2,
        "x_test": rng.integers(0, 255, (6, 4, 4), dtype=np.uint8), "y_test": np.arange(6) % 2,
    }  # fmt: skip
    ids = []
    for folder in ("a", "b"):
        path = tmp_path / folder / "data.npz"
        path.parent.mkdir()
        np.savez(path, **arrays)
        index = tmp_path / folder / "index.txt"
        index.write_text("\n".join(str(i) for i in range(30)))
        dataset = load(f"npz:{path}", tmp_path)
        ids.append(one(dataset, label_selection=str(index)).id)
    assert ids[0] == ids[1]
    arrays["x_train"][0, 0, 0] ^= 1
    np.savez(tmp_path / "a" / "data.npz", **arrays)
    assert one(load(f"npz:{path.parent.parent / 'a' / 'data.npz'}", tmp_path), label_selection=str(index)).id != ids[0]


def test_a_precision_is_written_only_where_it_is_not_the_default(digits: Dataset) -> None:
    plain, named = one(digits), one(digits, precision="tf32")
    assert "precision" not in plain.model_dump(mode="json")
    assert named.model_dump(mode="json")["precision"] == "tf32"
    for run in (plain, named):
        assert Run.model_validate_json(run.model_dump_json()) == run


def test_ids_of_a_grid_differ(digits: Dataset) -> None:
    grid = runs(digits, variants="toy,supervised,fm,option1,option2,triple", labels="20,50", seeds="3")
    assert len({run.id for run in grid}) == len(grid) == 6 * 2 * 3
    assert all(len(run.id) == 16 and set(run.id) <= set("0123456789abcdef") for run in grid)


def test_the_id_of_a_run_does_not_depend_on_its_grid(digits: Dataset) -> None:
    alone = one(digits, labels="50", seeds="2-2")
    assert alone in runs(digits, variants="fm,toy", labels="20,50,all", seeds="4", settings=["fm.lr=0.1"])


# --- labels ---


def test_labels_of_variants_and_protocols(digits: Dataset) -> None:
    assert one(digits).label == "toy"
    assert one(digits, settings=["toy.lr=0.3"]).label == "toy[lr=0.3]"
    assert one(digits, settings=["toy.widths=[3]", "toy.lr=0.3"]).label == "toy[lr=0.3,widths=[3]]"
    assert one(digits, settings=["toy.lr=0.001"]).label == "toy"  # the recipe's own value
    assert one(digits, precision="tf32").label == "toy[precision=tf32]"
    assert one(digits, precision="tf32", settings=["toy.lr=0.3"]).label == "toy[lr=0.3,precision=tf32]"
    row: dict[str, Any] = {"variants": "mine", "rows": {"mine": Row("toy", {"lr": 0.3})}, "precision": "bf16"}
    assert one(digits, **row).label == "mine[precision=bf16]"
    assert one(digits, **row, settings=["mine.lr=0.4"]).label == "mine[lr=0.4,precision=bf16]"
    assert one(digits).protocol == "common"
    assert one(digits, steps=40).protocol == "common@40"
    assert one(digits, protocol="paper", scale=0.1).protocol == "paper@0.1"
    assert one(digits, scale=1.0).protocol == "common"
    assert one(digits, protocol="smoke").protocol == "smoke"


def test_overrides_are_what_differs_from_the_protocols_recipe(digits: Dataset) -> None:
    run = one(digits, settings=["toy.lr=0.3", "toy.evaluations=40"])
    assert run.overrides == {"lr": 0.3}
    assert run.recipe == ToyRecipe(steps=400, lr=0.3).model_dump(mode="json")


# --- the grid ---


def test_runs_come_variant_by_variant_budget_by_budget(digits: Dataset) -> None:
    grid = runs(digits, variants="toy,fm", labels="50,20,10%,all", seeds="1,4")
    expected = [(v, b, s) for v in ("toy", "fm") for b in (50, 20, 129, 1297) for s in (1, 4)]
    assert [(run.variant, run.budget, run.seed) for run in grid] == expected


def test_settings_of_the_command_line_win_over_the_recipe_file(digits: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("toy: {lr: 0.1, evaluations: 7}")
    assert one(digits, recipe=path, settings=["toy.lr=0.2"]).overrides == {"lr": 0.2, "evaluations": 7}


def test_steps_and_scale(digits: Dataset) -> None:
    assert one(digits).steps == 400
    assert one(digits, steps=33).steps == 33
    assert [one(digits, scale=f).steps for f in (0.1, 0.001, 2.0, 1e-6)] == [40, 1, 800, 1]
    assert one(digits, protocol="paper").steps == 3 * (1297 // 100)
    assert one(digits, protocol="paper", unlabelled=300).steps == 3 * (320 // 100)
    assert one(digits, protocol="paper", validation=100).steps == 3 * (1197 // 100)
    assert one(digits, settings=["toy.steps=9"]).steps == 9


def test_scale_shrinks_phases_and_leaves_ema_and_batches_alone(digits: Dataset) -> None:
    """Phase boundaries are shares of the steps; nothing else of the variant knows the scale."""
    full, tenth = (
        one(dataclasses.replace(digits), variants="triple", protocol="paper", settings=["triple.network=mlp"], scale=s)
        for s in (1.0, 0.1)
    )
    assert full.recipe == tenth.recipe
    kind = registry.get("triple")
    variant = kind(task_of(digits, 20, 0, None), kind.recipe_type.model_validate_json(json.dumps(full.recipe)))
    ends = [Schedule(variant.phases(), run.steps, 1).ends for run in (full, tenth)]
    assert ends[1] == pytest.approx([end / 10 for end in ends[0]], abs=1)


def test_task(digits: Dataset) -> None:
    task = task_of(digits, 20, 30, None)
    assert (task.image_shape, task.classes, task.value_range) == ((1, 8, 8), 10, (0.0, 1.0))
    assert (task.labelled, task.unlabelled) == (20, 1297 - 50)
    assert task_of(digits, 20, 30, 100).unlabelled == 100
    assert task.shape_class == "grey"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2,), "vector"), ((1, 8, 8), "grey"), ((1, 28, 28), "grey"), ((3, 28, 28), "colour"), ((1, 32, 32), "colour"),
     ((3, 32, 32), "colour"), ((3, 33, 20), "large"), ((1, 64, 64), "large")],
)  # fmt: skip
def test_shape_classes(shape: tuple[int, ...], expected: str) -> None:
    assert Task(shape, 10, None, 1, 1).shape_class == expected


# --- the smoke protocol ---


@pytest.mark.parametrize(
    ("name", "dataset_name"),
    [(name, "digits") for name in registry.names() if name != "belt"] + [(n, "two-circles") for n in registry.names()],
)
def test_smoke_limits(name: str, dataset_name: str) -> None:
    """At most 20 steps, batches of at most 8, few test images, one evaluation; the paper's networks."""
    dataset = load(dataset_name, Path("unused"))
    run = one(dataset, variants=name, protocol="smoke")
    kind = registry.get(name)
    recipe = kind.recipe_type.model_validate_json(json.dumps(run.recipe))
    variant = kind(task_of(dataset, 20, 0, None), recipe)
    assert run.steps <= 20
    assert all(draw.size <= 8 for draw in {**variant.draws(), **variant.initial_draws()}.values())
    assert (recipe.test_images, recipe.evaluations) == (64, 1)
    assert len(Schedule(variant.phases(), run.steps, recipe.evaluations).evaluations) == 1
    if dataset_name == "digits":
        paper = kind.recipe_for("paper", "digits", "grey")
        same = set(kind.recipe_type.model_fields) - {"steps", "test_images", "evaluations"}
        assert {n for n in same if getattr(paper, n) != getattr(recipe, n)} <= {
            n
            for n, f in kind.recipe_type.model_fields.items()
            if (f.json_schema_extra or {}).get("batch")  # type: ignore[union-attr]
        }


def test_smoke_steps_may_shrink_and_not_grow(digits: Dataset) -> None:
    assert one(digits, protocol="smoke", steps=5).steps == 5
    assert one(digits, protocol="smoke", scale=0.5).steps == 10
    for longer in ({"steps": 21}, {"scale": 1.5}):
        with pytest.raises(UsageError, match="smoke protocol takes at most 20 steps"):
            runs(digits, protocol="smoke", **longer)


# --- what cannot be done ---


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"variants": "toi"}, "unknown variant 'toi'. Did you mean 'toy'"),
        ({"variants": ""}, "--variants: .*empty entry"),
        ({"labels": "1298"}, "1298 labels; the training set has 1 to 1297"),
        ({"labels": "0"}, "0 labels"),
        ({"labels": "101%"}, "at most 100"),
        ({"seeds": "0"}, "--seeds 0"),
        ({"protocol": "papers"}, "unknown protocol 'papers'. Did you mean 'paper'"),
        ({"label_selection": "balance"}, "unknown label selection 'balance'. Did you mean 'balanced'"),
        ({"settings": ["fm.lr=1"]}, "unknown variant in --set 'fm'"),
        ({"settings": ["toy.rl=1"]}, "unknown recipe field of toy 'rl'"),
        ({"settings": ["toy.lr=2"]}, "toy.lr=2.*less than or equal to 1"),
        ({"settings": ["toy.steps=null"]}, "neither `steps` nor `epochs`"),
        ({"steps": 0}, "--steps 0"),
        ({"steps": -5}, "--steps -5"),
        ({"scale": 0.0}, "--scale 0.0"),
        ({"scale": -1.0}, "--scale -1.0"),
        ({"scale": float("nan")}, "--scale nan"),
        ({"scale": float("inf")}, "--scale inf"),
        ({"steps": 5, "scale": 0.5}, "exclude each other"),
        ({"validation": -1}, "--validation -1"),
        ({"validation": 1290}, "--validation 1290"),
        ({"unlabelled": -1}, "unlabelled"),
        ({"unlabelled": 5000}, "unlabelled"),
        ({"variants": "greedy", "labels": "all"}, "none left"),
        (
            {"variants": "triple", "settings": ["triple.pretrain_lr=0.01"]},
            "no effect while triple.pretrain_epochs is 0",
        ),
    ],
)
def test_usage_errors(options: dict[str, Any], complaint: str, digits: Dataset) -> None:
    with pytest.raises(UsageError, match=complaint) as error:
        runs(digits, **options)
    assert len(str(error.value)) < 1000


def test_a_protocol_without_a_recipe_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'toy' has no 'common' recipe for dataset 'two-circles' .vector.*common: grey"
    ):
        runs(load("two-circles", tmp_path))


def test_budgets_larger_than_the_training_set_are_refused_before_any_run(digits: Dataset) -> None:
    with pytest.raises(UsageError, match="1298"):
        runs(digits, labels="20,1298")


def test_index_file_of_a_selection(tmp_path: Path) -> None:
    path = tmp_path / "index.txt"
    path.write_text("3\n1\n2\n")
    assert index_file_of(Options(label_selection=str(path))) == path
    assert index_file_of(Options(label_selection="random")) is None
