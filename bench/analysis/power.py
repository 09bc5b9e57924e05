"""What a paired t test of n pairs can see: its power, by the noncentral t distribution.

For n differences with mean `difference` and standard deviation `sd`, the statistic of the two-sided test follows a
noncentral t distribution with n - 1 degrees of freedom and noncentrality `difference / sd * sqrt(n)` (Cohen 1988,
Statistical Power Analysis, chapter 2). Where sd was itself estimated from these pairs, so are the answers.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

from scipy import optimize, special

MOST_SEEDS = 100_000


def power_at(noncentrality: float, n: int, alpha: float = 0.05) -> float:
    """The probability that the two-sided paired t test of n >= 2 pairs gives p < alpha.

    By the square of t, which is noncentral F with 1 and n - 1 degrees of freedom: SciPy has it exact but for its far
    tail, where it fails (NaN) and the power is 1.
    """
    critical = float(special.fdtri(1, n - 1, 1 - alpha))
    missed = float(special.ncfdtr(1, n - 1, noncentrality**2, critical))
    return 1.0 if math.isnan(missed) else 1 - missed


def detectable_difference(sd: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true difference that n pairs see with this power; missing (NaN) for n < 2."""
    return _noncentrality(n, power, alpha) * sd / math.sqrt(n) if n > 1 else math.nan


def seeds_needed(difference: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """The fewest pairs, two at least, that see a true difference of this size with this power.

    Infinite where `MOST_SEEDS` are too few; None where there is nothing to see or to measure it by: a difference of 0,
    or a spread that is 0 or missing (NaN, fewer than two pairs).
    """
    if not (abs(difference) > 0 and sd > 0):
        return None
    effect = abs(difference) / sd
    candidates = range(2, MOST_SEEDS + 1)
    enough = bisect_left(candidates, True, key=lambda n: power_at(effect * math.sqrt(n), n, alpha) >= power)
    return candidates[enough] if enough < len(candidates) else math.inf


@lru_cache
def _noncentrality(n: int, power: float, alpha: float) -> float:
    """The noncentrality at which the test of n pairs has this power."""
    highest = 10 * (1 + math.sqrt(special.fdtri(1, n - 1, 1 - alpha)))
    return float(optimize.brentq(lambda value: power_at(value, n, alpha) - power, 0, highest))
