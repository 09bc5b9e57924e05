"""Stale runs: recognised when code has moved on, never because a switch was added."""

from pathlib import Path

import pytest

from bench import registry
from bench.datasets import load
from bench.grid import Options, Run, plan
from bench.grid.stale import is_stale, recipe_identity
from bench.variant import setting


@pytest.fixture(scope="module")
def run() -> Run:
    options = Options(variants="fm", labels="20", seeds="0-0")
    return plan(options, load("digits", Path("nowhere")))[0]


def test_a_run_of_today_is_not_stale(run: Run) -> None:
    assert not is_stale(run)
    (named,) = plan(Options(variants="fm", labels="20", seeds="0-0", precision="tf32"), load("digits", Path("nowhere")))
    assert not is_stale(named)


def test_a_new_version_or_new_numerics_make_it_stale(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(registry.get("fm"), "version", 99)
        assert is_stale(run)
    with monkeypatch.context() as patch:
        patch.setattr("bench.grid.run.NUMERICS_VERSION", 99)
        assert is_stale(run)


def test_a_field_that_is_gone_or_altered_makes_it_stale(run: Run) -> None:
    assert is_stale(run.model_copy(update={"recipe": {**run.recipe, "forgotten": 1}}))
    assert is_stale(run.model_copy(update={"recipe": {**run.recipe, "lr": 0.5}}))


def test_a_switch_that_was_added_since_leaves_it_fresh(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fm = registry.get("fm")

    class Switched(fm.recipe_type):  # type: ignore[name-defined, misc]
        smoothing: float = setting(0.5, "a switch of tomorrow that is on by default", ge=0, le=1, neutral=0.0)

    class Required(fm.recipe_type):  # type: ignore[name-defined, misc]
        strength: float = setting(0.5, "a field of tomorrow that cannot be off", ge=0, le=1)

    before = recipe_identity(run)
    with monkeypatch.context() as patch:
        patch.setattr(fm, "recipe_type", Switched)
        assert not is_stale(run)
        assert recipe_identity(run) == before
    with monkeypatch.context() as patch:
        patch.setattr(fm, "recipe_type", Required)
        assert is_stale(run)


def test_a_variant_that_is_not_installed_is_never_called_stale(run: Run) -> None:
    assert not is_stale(run.model_copy(update={"variant": "somebody-elses"}))
