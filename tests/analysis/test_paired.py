"""Paired differences against scipy's paired test, and the table of an ablation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.paired import differences, paired
from bench.reporting.ablation import ablation_table

RNG = np.random.default_rng(0)
BASE = pd.Series(90 + RNG.normal(size=6), index=range(6))
OTHER = pd.Series(91 + RNG.normal(size=6), index=range(6))


def test_interval_is_that_of_the_paired_t_test() -> None:
    found = paired(OTHER, BASE)
    expected = stats.ttest_rel(OTHER, BASE).confidence_interval(0.95)
    assert (found["n"], found["difference"]) == (6, pytest.approx((OTHER - BASE).mean()))
    assert (found["low"], found["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found["se"] == pytest.approx(stats.sem(OTHER - BASE))


def test_pairs_are_found_by_seed() -> None:
    shuffled = OTHER.sample(frac=1, random_state=1)
    assert paired(shuffled, BASE) == pytest.approx(paired(OTHER, BASE))
    lost = OTHER.copy()
    lost[2] = np.nan
    assert paired(lost, BASE) == pytest.approx(paired(OTHER.drop(2), BASE.drop(2)))
    assert paired(lost, BASE)["n"] == 5


def test_one_pair_has_no_interval() -> None:
    found = paired(OTHER[:1], BASE)
    assert (found["n"], found["difference"]) == (1, pytest.approx(OTHER[0] - BASE[0]))
    assert np.isnan([found["se"], found["low"], found["high"]]).all()


def test_differences_of_a_frame_leave_out_what_failed() -> None:
    rows = [("a", seed, BASE[seed], "done") for seed in range(6)] + [
        ("b", seed, OTHER[seed], "done") for seed in BASE.index
    ]
    frame = pd.DataFrame(rows, columns=["variant", "seed", "accuracy", "status"])
    frame = frame.assign(dataset="d", protocol="p", budget=20)
    frame.loc[7, "status"] = "diverged"
    (row,) = differences(frame, "a").to_dict("records")
    assert (row["variant"], row["budget"], row["n"]) == ("b", 20, 5)
    assert row["difference"] == pytest.approx((OTHER - BASE).drop(1).mean())
    assert differences(frame, "c").empty


def test_ablation_table_marks_what_leaves_out_zero() -> None:
    better, same = BASE + 1 + 0.01 * RNG.normal(size=6), BASE + RNG.normal(size=6) - RNG.normal(size=6)
    broken = BASE.copy()
    broken[:] = np.nan
    table = ablation_table("T", {"base": {20: BASE}, "+ x": {20: better}, "+ y": {20: same}, "+ z": {20: broken}}, [20])
    rows = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:4]] for line in table.splitlines()[2:8]}
    assert rows["base"] == [f"{BASE.mean():.2f} ± {BASE.std(ddof=1):.2f}", ""]
    assert rows["+ x"][1].startswith(f"{(better - BASE).mean():+.2f} [+")
    assert rows["+ x"][1].endswith("] *")
    assert not rows["+ y"][1].endswith("*")
    assert rows["+ z"] == ["– (6 failed)", "–"]
