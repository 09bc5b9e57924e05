"""Every registered variant passes every check of the conformance suite."""

from __future__ import annotations

import pytest

from bench import registry
from bench.conformance import CHECKS, problem

NAMES = registry.names()


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_conforms(name: str, check: str) -> None:
    assert problem(CHECKS[check], registry.get(name)) is None


@pytest.mark.parametrize("name", ["fm", "option1", "option2", "supervised", "triple"])
def test_has_a_common_recipe_for_every_small_shape(name: str) -> None:
    for shape_class in ("vector", "grey", "colour"):
        assert registry.get(name).recipe_for("common", "unnamed", shape_class).steps


def test_the_suite_is_not_skipped_for_want_of_variants() -> None:
    assert {"fm", "option1", "option2", "supervised", "triple"} <= set(NAMES)
