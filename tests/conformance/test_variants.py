"""Every registered variant passes every check of the conformance suite."""

from __future__ import annotations

import pytest

from bench import registry
from bench.conformance import CHECKS, problem

NAMES = registry.names()
WHOLE = {"supervised", "fm"}  # variants that go through every check every time
# What results stand and fall with: every variant goes through these every time, through the others with -m slow
VITAL = {
    "recipes are well-formed",
    "saved and restored, a run goes on bit for bit",
    "hidden labels change no bit",
    "each player moves its own networks only",
}
VITAL_FOR_SOME = {"a run alone equals the run in cohorts of 3 and 15, bit for bit"}
SOME = {"triple", "bad", "cat", "rf"}  # the networks and losses of the others are made of theirs


def is_long(name: str, check: str) -> bool:
    return name not in WHOLE and check not in VITAL and not (name in SOME and check in VITAL_FOR_SOME)


CASES = [
    pytest.param(name, check, marks=pytest.mark.slow if is_long(name, check) else ())
    for name in NAMES
    for check in CHECKS
]


def test_the_vital_checks_are_checks() -> None:
    assert set(CHECKS) > VITAL | VITAL_FOR_SOME
    assert set(NAMES) > WHOLE | SOME


@pytest.mark.parametrize(("name", "check"), CASES)
def test_conforms(name: str, check: str) -> None:
    assert problem(CHECKS[check], registry.get(name)) is None


@pytest.mark.parametrize("name", ["fm", "option1", "option2", "supervised", "triple"])
def test_has_a_common_recipe_for_every_small_shape(name: str) -> None:
    for shape_class in ("vector", "grey", "colour"):
        assert registry.get(name).recipe_for("common", "unnamed", shape_class).steps


def test_the_suite_is_not_skipped_for_want_of_variants() -> None:
    assert {"fm", "option1", "option2", "supervised", "triple"} <= set(NAMES)
