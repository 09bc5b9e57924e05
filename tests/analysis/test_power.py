"""Power against sample sizes from the literature, numerical integration and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from bench.analysis.power import detectable_difference, power_at, seeds_needed


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_for_cohen_s_effects(effect: float, pairs: int) -> None:
    """What G*Power 3.1 gives for the two-sided paired t test, alpha 0.05, power 0.8."""
    assert seeds_needed(effect, 1) == pairs
    assert seeds_needed(-3 * effect, 3) == pairs


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30, 100])
@pytest.mark.parametrize("noncentrality", [0.0, 0.5, 2.0, 3.0, 5.0, 12.0])
def test_power_is_the_integral_over_the_spread(n: int, noncentrality: float) -> None:
    """Given s = sd estimated / sd true, the test's numerator is normal; s^2 (n - 1) is chi-squared."""
    t = stats.t.ppf(0.975, n - 1)

    def rejects(s: float) -> float:
        beyond = stats.norm.sf(t * s - noncentrality) + stats.norm.cdf(-t * s - noncentrality)
        return float(beyond * stats.chi.pdf(s * math.sqrt(n - 1), n - 1) * math.sqrt(n - 1))

    expected, _ = integrate.quad(rejects, 0, 8, limit=200)
    assert power_at(noncentrality, n) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [3, 5, 10, 20])
@pytest.mark.parametrize("power", [0.5, 0.8])
def test_the_detectable_difference_is_detected_as_often_as_it_says(n: int, power: float) -> None:
    """40,000 simulated experiments: within two points."""
    sd = 1.7
    difference = detectable_difference(sd, n, power)
    samples = np.random.default_rng(n).normal(difference, sd, size=(40_000, n))
    found = stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(power, abs=0.02)


def test_so_many_seeds_find_the_difference_and_one_fewer_does_not() -> None:
    rng = np.random.default_rng(0)
    for difference in (0.6, 0.9, 1.5):
        needed = seeds_needed(difference, 1)
        assert needed is not None
        n = int(needed)
        hits = {}
        for size in (n - 1, n):
            samples = rng.normal(difference, 1, size=(60_000, size))
            hits[size] = (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean()
        assert hits[n - 1] < 0.805
        assert hits[n] > 0.795


def test_a_stricter_or_stronger_test_needs_more() -> None:
    assert detectable_difference(1, 10, alpha=0.01) > detectable_difference(1, 10) > detectable_difference(1, 11)
    assert detectable_difference(1, 10, power=0.9) > detectable_difference(1, 10)
    assert detectable_difference(0, 10) == 0


def test_where_there_is_nothing_to_see_or_to_measure_by() -> None:
    assert math.isnan(detectable_difference(math.nan, 1))
    assert seeds_needed(0, 1) is None
    assert seeds_needed(1, math.nan) is None
    assert seeds_needed(1, 0) is None
    assert seeds_needed(math.nan, math.nan) is None


def test_extremes() -> None:
    assert seeds_needed(0.001, 1) == math.inf
    assert seeds_needed(1e12, 1) == seeds_needed(100, 1) == 2
    assert power_at(0, 7) == pytest.approx(0.05)
    assert [power_at(1e9, n) for n in (2, 10, 100_000)] == [1, 1, 1]
