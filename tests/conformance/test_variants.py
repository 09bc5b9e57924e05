"""Every registered variant passes every check of the conformance suite."""

from __future__ import annotations

import pytest

from bench import registry
from bench.conformance import CHECKS, problem

NAMES = registry.names()
LONG = {"every recipe field changes something", "vectors, grey and colour images, 2 and 10 classes"}
EVERY_TIME = {"supervised", "fm", "triple"}  # variants that go through the long checks, too, without -m slow
# Variants of large networks, and those that share nearly all of their code with another one: fewer checks every time
LARGE = {"ugan", "margin", "sgan", "transfer", "vanilla", "option1"}
LONG_IF_LARGE = {
    "traced losses keep every bit",
    "vmap and loop agree",
    "a run alone equals the run in cohorts of 3 and 15, bit for bit",
    "a run that turns to NaN leaves its neighbours alone",
    "100 steps beat chance",
}


def is_long(name: str, check: str) -> bool:
    return (check in LONG and name not in EVERY_TIME) or (check in LONG_IF_LARGE and name in LARGE)


CASES = [
    pytest.param(name, check, marks=pytest.mark.slow if is_long(name, check) else ())
    for name in NAMES
    for check in CHECKS
]


def test_the_long_checks_are_checks() -> None:
    assert set(CHECKS) >= LONG | LONG_IF_LARGE


@pytest.mark.parametrize(("name", "check"), CASES)
def test_conforms(name: str, check: str) -> None:
    assert problem(CHECKS[check], registry.get(name)) is None


@pytest.mark.parametrize("name", ["fm", "option1", "option2", "supervised", "triple"])
def test_has_a_common_recipe_for_every_small_shape(name: str) -> None:
    for shape_class in ("vector", "grey", "colour"):
        assert registry.get(name).recipe_for("common", "unnamed", shape_class).steps


def test_the_suite_is_not_skipped_for_want_of_variants() -> None:
    assert {"fm", "option1", "option2", "supervised", "triple"} <= set(NAMES)
