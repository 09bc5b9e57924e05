"""Policies against numbers read off by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.analysis.policies import POLICIES, errors_of
from bench.errors import UsageError
from bench.store import Record

MakeRecord = Callable[..., Record]

RAW = [90, 80, 70, 60, 50, 40, 30, 20, 10, 15, 25, 35]
EMA = [91, 81, 71, 61, 51, 41, 31, 21, 11, 12, 13, 14]
VALIDATION_RAW = [9, 9, 3, 4, 3, 9, 9, 9, 9, 9, 9, 9]  # the first of the fewest: index 2
VALIDATION_EMA = [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 2, 9]  # index 10
CURVE = {"ema": EMA, "validation_raw": VALIDATION_RAW, "validation_ema": VALIDATION_EMA}


def test_the_policies_by_name() -> None:
    assert POLICIES == ("last", "mean-last-10", "best-validation", "oracle")


@pytest.mark.parametrize(
    ("policy", "of_raw", "of_ema"),
    [
        ("last", 35, 14),
        ("mean-last-10", 35.5, 32.6),  # (70+60+50+40+30+20+10+15+25+35) / 10, (71+61+51+41+31+21+11+12+13+14) / 10
        ("best-validation", 70, 13),
        ("oracle", 10, 11),
    ],
)
def test_policies_read_the_weights_that_the_recipe_names(
    record: MakeRecord, policy: str, of_raw: float, of_ema: float
) -> None:
    assert errors_of(record(RAW, curve=CURVE), policy) == of_raw
    assert errors_of(record(RAW, curve=CURVE, recipe={"evaluate_with": "ema"}), policy) == pytest.approx(of_ema)


def test_without_an_average_the_raw_weights_count(record: MakeRecord) -> None:
    run = record(RAW, curve={"validation_raw": VALIDATION_RAW}, recipe={"evaluate_with": "ema"})
    assert [errors_of(run, policy) for policy in POLICIES] == [35, 35.5, 70, 10]


def test_fewer_than_ten_evaluations_are_averaged_all(record: MakeRecord) -> None:
    assert errors_of(record([4, 1, 1]), "mean-last-10") == 2


def test_there_may_be_nothing_to_read(record: MakeRecord) -> None:
    assert errors_of(record(RAW), "best-validation") is None
    assert errors_of(record([], status="failed"), "last") is None


def test_an_unknown_policy_is_refused_with_the_nearest(record: MakeRecord) -> None:
    with pytest.raises(UsageError, match=r"'oracel'.*'oracle'"):
        errors_of(record([], status="failed"), "oracel")
