"""Every registered variant passes every check of the conformance suite."""

from __future__ import annotations

import pytest

from bench import registry
from bench.conformance import CHECKS, problem

NAMES = registry.names()
WHOLE = {"supervised", "fm"}  # variants that go through every check every time, but for one
# What results stand and fall with: every variant goes through these every time, through the others with -m slow
VITAL = {
    "recipes are well-formed",
    "saved and restored, a run goes on bit for bit",
    "hidden labels change no bit",
    "each player moves its own networks only",
}
TOO_LONG = ("fm", "every recipe field changes something")
AS_WELL = ("triple", "a run alone equals the run in cohorts of 3 and 15, bit for bit")


def is_long(name: str, check: str) -> bool:
    always = check in VITAL or name in WHOLE or (name, check) == AS_WELL
    return not always or (name, check) == TOO_LONG


CASES = [
    pytest.param(name, check, marks=pytest.mark.slow if is_long(name, check) else ())
    for name in NAMES
    for check in CHECKS
]


def test_the_vital_checks_are_checks() -> None:
    assert set(CHECKS) > VITAL | {TOO_LONG[1], AS_WELL[1]}
    assert set(NAMES) > WHOLE


@pytest.mark.parametrize(("name", "check"), CASES)
def test_conforms(name: str, check: str) -> None:
    assert problem(CHECKS[check], registry.get(name)) is None


@pytest.mark.parametrize("name", ["fm", "option1", "option2", "supervised", "triple"])
def test_has_a_common_recipe_for_every_small_shape(name: str) -> None:
    for shape_class in ("vector", "grey", "colour"):
        assert registry.get(name).recipe_for("common", "unnamed", shape_class).steps


def test_the_suite_is_not_skipped_for_want_of_variants() -> None:
    assert {"fm", "option1", "option2", "supervised", "triple"} <= set(NAMES)
