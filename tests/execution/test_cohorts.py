"""Which runs train together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.datasets import Dataset
from bench.execution import Cohort, group
from bench.execution.cohorts import LARGEST_ON_GPU, LARGEST_STACKED, variant_of
from bench.grid import Run

MakeRuns = Callable[..., list[Run]]
CPU = torch.device("cpu")


def sizes(cohorts: list[Cohort]) -> list[int]:
    return sorted(len(cohort.runs) for cohort in cohorts)


def kinds(cohort: Cohort) -> set[tuple[object, ...]]:
    return {(run.label, run.precision, run.protocol, run.steps, run.validation) for run in cohort.runs}


def test_every_run_is_in_one_cohort_and_only_equals_share_one(
    digits: Dataset, plugin: Path, make_runs: MakeRuns
) -> None:
    runs = make_runs("calm,fm,triple", labels="20,50")
    runs += make_runs("calm", settings=["calm.lr=0.1"]) + make_runs("calm", steps=9) + make_runs("calm", validation=50)
    runs += make_runs("calm", precision="tf32")
    cohorts = group(runs, digits, CPU, jobs=1, size=None)
    assert sorted(run.id for c in cohorts for run in c.runs) == sorted(run.id for run in runs)
    assert all(len(kinds(cohort)) == 1 for cohort in cohorts)
    assert len({cohort.name for cohort in cohorts}) == len(cohorts)


def test_stacked_runs_fill_cohorts_of_even_size(digits: Dataset, plugin: Path, make_runs: MakeRuns) -> None:
    runs = make_runs("calm", seeds="32")
    assert LARGEST_STACKED == 15
    assert sizes(group(runs, digits, CPU, jobs=1, size=None)) == [10, 11, 11]
    assert sizes(group(runs, digits, CPU, jobs=8, size=None)) == [4] * 8  # enough for all jobs
    assert sizes(group(runs[:3], digits, CPU, jobs=8, size=None)) == [1, 1, 1]
    assert sizes(group(runs, digits, torch.device("cuda"), jobs=1, size=None)) == [32]
    assert LARGEST_ON_GPU >= 32


@pytest.mark.parametrize(("size", "expected"), [(1, [1] * 5), (2, [1, 2, 2]), (5, [5]), (99, [5])])
def test_a_given_size_is_the_largest(
    size: int, expected: list[int], digits: Dataset, plugin: Path, make_runs: MakeRuns
) -> None:
    assert sizes(group(make_runs("calm", seeds="5"), digits, CPU, jobs=8, size=size)) == expected


def test_large_networks_train_alone_on_a_cpu(digits: Dataset, make_runs: MakeRuns) -> None:
    runs = make_runs("fm", protocol="paper", seeds="4", settings=["fm.classifier=[1000,1000]"])
    assert sizes(group(runs, digits, CPU, jobs=1, size=None)) == [1] * 4
    assert sizes(group(runs, digits, torch.device("cuda"), jobs=1, size=None)) == [4]


def test_budgets_mix_where_draws_and_phases_are_equal(digits: Dataset, plugin: Path, make_runs: MakeRuns) -> None:
    (cohort,) = group(make_runs("calm", labels="20,50"), digits, CPU, jobs=1, size=None)
    assert sorted(run.budget for run in cohort.runs) == [20, 20, 20, 50, 50, 50]


def test_budgets_do_not_mix_where_draws_depend_on_them(digits: Dataset, make_runs: MakeRuns) -> None:
    settings = ["triple.network=mlp", "triple.classifier=[8]", "triple.discriminator=[8]", "triple.generator=[8]"]
    runs = make_runs("triple", labels="20,50", protocol="paper", settings=settings)
    cohorts = group(runs, digits, CPU, jobs=1, size=None)
    assert sorted({run.budget for run in cohort.runs}.pop() for cohort in cohorts) == [20, 50]
    assert sizes(cohorts) == [3, 3]


def test_long_cohorts_come_first(digits: Dataset, plugin: Path, make_runs: MakeRuns) -> None:
    runs = make_runs("calm", steps=5) + make_runs("calm", steps=50) + make_runs("calm", steps=20)
    lengths = [cohort.runs[0].steps for cohort in group(runs, digits, CPU, jobs=1, size=None)]
    assert lengths == [50, 20, 5]


def test_a_run_gets_its_recipe_and_task_back(digits: Dataset, make_runs: MakeRuns) -> None:
    (run,) = make_runs("fm", seeds="1", settings=["fm.classifier=[9, 7]", "fm.lr=0.5"], validation=40)
    variant = variant_of(run, digits)
    assert variant.recipe.classifier == (9, 7)
    assert variant.recipe.lr == 0.5
    assert (variant.task.labelled, variant.task.unlabelled) == (20, 1297 - 60)


def test_no_runs_give_no_cohorts(digits: Dataset) -> None:
    assert group([], digits, CPU, jobs=2, size=None) == []
