"""How one number is read off a run's curve."""

from __future__ import annotations

from statistics import fmean

from bench.errors import unknown
from bench.store import Record

LAST_EVALUATIONS = 10

# Each in the words that tables print under their numbers.
DESCRIPTIONS = {
    "last": "the last evaluation of each run",
    "mean-last-10": f"the mean of each run's last {LAST_EVALUATIONS} evaluations (of all, where there are fewer)",
    "best-validation": "the evaluation with the fewest validation errors, the first such",
    "oracle": "the evaluation with the fewest test errors: it peeks at the test set",
}
POLICIES = tuple(DESCRIPTIONS)


def errors_of(record: Record, policy: str) -> float | None:
    """Number of wrong test images under the weights that the recipe names (`accuracy_of`).

    None where there is nothing to read: no evaluation, or no validation split for `best-validation`.

    Raises:
        UsageError: no such policy.
    """
    if policy not in POLICIES:
        raise unknown("policy", policy, POLICIES)
    curve = record.curve
    if curve is None or not curve.steps:
        return None
    averaged = record.accuracy_of == "ema"
    test = curve.ema if averaged and curve.ema is not None else curve.raw
    validation = curve.validation_ema if averaged else curve.validation_raw
    if policy == "last":
        return float(test[-1])
    if policy == "mean-last-10":
        return fmean(test[-LAST_EVALUATIONS:])
    if policy == "oracle":
        return float(min(test))
    return None if validation is None else float(test[validation.index(min(validation))])
