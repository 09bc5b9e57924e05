"""Published numbers against their sources, and comparisons with them against SciPy's Welch test and arithmetic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import optimize, stats

from bench import registry
from bench.analysis.cells import cells
from bench.analysis.published import COLUMNS, TRAIN_IMAGES, Published, beside, load
from bench.analysis.runs import runs_frame
from bench.datasets import sources
from bench.store import Record

MakeRecord = Callable[..., Record]

# Part of the source, method, dataset, budget, part of the note, then accuracy in % and spread in points.
SALIMANS, BAD, TRIPLE, UGAN = "1606.03498", "1705.09783, main", "1703.02291", "1910.08540"
SPOT_CHECKS = [
    (SALIMANS, "FM-GAN", "mnist", 20, "", 83.23, 4.52),
    (SALIMANS, "FM-GAN", "mnist", 50, "ensemble", 98.58, 0.96),
    (SALIMANS, "FM-GAN", "mnist", 100, "", 99.07, 0.065),
    (SALIMANS, "Ladder network", "mnist", 100, "", 98.94, 0.37),
    (SALIMANS, "Virtual Adversarial", "mnist", 100, "", 97.88, None),
    (SALIMANS, "FM-GAN", "cifar10", 1000, "", 78.17, 2.01),
    (SALIMANS, "FM-GAN", "cifar10", 8000, "ensemble", 85.13, 0.89),
    (SALIMANS, "FM-GAN", "svhn", 500, "", 81.56, 4.8),
    (SALIMANS, "FM-GAN", "svhn", 1000, "ensemble", 94.12, 1.0),
    (SALIMANS, "Auxiliary Deep Generative Model", "svhn", 1000, "", 77.14, None),
    (BAD, "Bad GAN", "mnist", 100, "", 99.205, 0.098),
    (BAD, "Bad GAN", "svhn", 1000, "", 95.75, 0.03),
    (BAD, "Bad GAN", "cifar10", 4000, "", 85.59, 0.30),
    (BAD, "VAT small", "mnist", 100, "", 98.64, None),
    (BAD, "ALI", "cifar10", 4000, "", 82.01, 1.62),
    ("1705.09783, ablation", "FM+LD+VI", "mnist", 100, "", 99.108, 0.105),
    ("1705.09783, ablation", "FM+PT", "svhn", 1000, "", 95.37, None),
    (TRIPLE, "Triple-GAN", "mnist", 20, "", 95.19, 4.95),
    (TRIPLE, "Triple-GAN", "mnist", 200, "", 99.33, 0.16),
    (TRIPLE, "Triple-GAN", "svhn", 1000, "", 94.23, 0.17),
    (TRIPLE, "MMCVA", "svhn", 1000, "extra", 95.05, 0.18),
    (TRIPLE, "Conv-Ladder", "mnist", 100, "", 99.11, 0.50),
    (UGAN, "UGAN", "mnist", 20, "hand", 97.34, 6.86),
    (UGAN, "UGAN", "mnist", 50, "", 98.92, 0.13),
    ("1511.06390", "CatGAN", "mnist", "all", "", 99.09, None),
    ("1511.06390", "RIM+NN", "mnist", 1000, "", 89.59, 0.89),
    ("MarginGAN", "MarginGAN", "mnist", 3000, "", 97.94, 0.20),
    ("Odena", "SGAN", "mnist", 25, "", 80.2, None),
    ("1912.09784", "Triple-GAN-V2", "svhn", 250, "augmentation", 96.52, None),
    ("GANs in Action", "SGAN", "mnist", 100, "", 89.41, None),
    ("GANs in Action", "supervised", "mnist", 100, "", 69.22, None),
    ("Petrova (Scaleway 2020), opetrova", "Option II", "cats-dogs", 100, "40 epochs", 83.2, None),
    ("nejlag", "K + 1 classes with feature matching", "mnist", "all", "", 94.5, None),
    ("Silva", "FM-GAN", "svhn", 1000, "about", 68, None),
    ("improved_gan_chainer", "FM-GAN", "mnist", 100, "", 99.18, None),
    ("theidentity", "FM-GAN", "cifar10", 2500, "", 60.7, 10.6),
    ("EC-GAN", "EC-GAN", "svhn", 14651, "", 93.40, None),
]
# The whole of the table that compares four methods: accuracy ± std in %, * labels selected by hand, † own
# implementation of another's method.
FOUR_METHODS = """
    FM-GAN        83.23 ± 4.52     97.79 ± 1.36   99.07 ± 0.07   99.10 ± 0.04
    Bad GAN       -                -              99.21 ± 0.10   -
    Triple-GAN    95.19 ± 4.95     98.44 ± 0.72   99.09 ± 0.58   99.33 ± 0.16
    Bad GAN †     88.38 ± 3.08 *   96.24 ± 0.16   99.17 ± 0.03   99.20 ± 0.03
    Triple-GAN †  95.93 ± 4.45 *   98.68 ± 1.12   99.07 ± 0.46   99.17 ± 0.08
    UGAN          97.34 ± 6.86 *   98.92 ± 0.13   99.21 ± 0.08   99.35 ± 0.05
"""


def improved(entry: Published) -> bool:
    """Whether its note says that several models or further images went into a number."""
    return any(word in (entry.note or "") for word in ("ensemble", "augmentation"))


# --- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", SPOT_CHECKS, ids=lambda e: f"{e[0]} {e[1]} {e[2]} {e[3]}")
def test_spot_checks(expected: tuple[str, str, str, int | str, str, float, float | None]) -> None:
    source, method, dataset, budget, note, accuracy, spread = expected
    found = [
        e
        for e in load()
        if (source in e.source and (e.method, e.dataset, e.budget) == (method, dataset, budget))
        if (note in (e.note or "") if note else not improved(e))
        if not e.quoted or e.variant is None
    ]
    assert [e.accuracy for e in found] == [pytest.approx(accuracy)]
    assert found[0].spread_points == (None if spread is None else pytest.approx(spread))


def test_the_table_of_four_methods_is_whole() -> None:
    lines = [line.split("  ") for line in FOUR_METHODS.strip().splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    expected = {
        (row[0], budget): text for row in rows for budget, text in zip((20, 50, 100, 200), row[1:], strict=True)
    }
    found = {
        (e.method + (" †" if e.own_implementation else ""), e.budget): (
            f"{e.accuracy:.2f} ± {e.spread:.2f}" + (" *" if e.selection == "hand" else "")
        )
        for e in load()
        if UGAN in e.source
    }
    assert found == {key: text for key, text in expected.items() if text != "-"}
    assert {e.unit for e in load() if UGAN in e.source} == {"accuracy"}


def test_every_name_and_budget_exists() -> None:
    assert {e.variant for e in load()} - {None} <= set(registry.names())
    assert {e.dataset for e in load()} - {"celeba"} <= set(sources.names())
    for entry in load():
        assert entry.budget == "all" or 0 < entry.budget <= TRAIN_IMAGES.get(entry.dataset, 10_000)
        assert 0 <= entry.accuracy <= 100
        assert entry.spread_points is None or 0 < entry.spread_points < 12


def test_no_number_stands_there_twice() -> None:
    count = Counter((e.source, e.method, e.dataset, e.budget, e.note) for e in load())
    assert [key for key, times in count.items() if times > 1] == []


def test_quoted_numbers_are_those_of_the_papers_they_come_from() -> None:
    home = {"fm": SALIMANS, "bad": BAD, "triple": TRIPLE}
    quoted = [e for e in load() if e.quoted and e.variant in home and e.comparable]
    assert len(quoted) == 6 + 3 + 9  # by the papers on Triple-GAN, Bad GAN and UGAN
    for entry in quoted:
        original = [
            e
            for e in load()
            if home[str(entry.variant)] in e.source and not e.quoted and e.comparable
            if (e.variant, e.dataset, e.budget) == (entry.variant, entry.dataset, entry.budget)
        ]
        assert entry.accuracy == pytest.approx(original[0].accuracy, abs=0.0051)
        assert entry.spread_points == pytest.approx(original[0].spread_points, abs=0.0051)


def test_what_was_picked_improved_or_peeked_is_marked() -> None:
    marked = [e for e in load() if improved(e) and e.variant]
    assert len(marked) == 10  # 4 on MNIST, 4 on CIFAR-10, 1 on SVHN; CT-GAN's augmentation
    assert not any(e.comparable for e in marked)
    assert {e.source.split()[0] for e in load() if e.selection == "hand"} == {"Li", "O."}
    assert all(e.unverified for e in load() if e.source.endswith("ablation"))
    assert {e.policy for e in load() if e.method == "MarginGAN"} == {"best-test"}


# --- one number ------------------------------------------------------------------------------------------------------


def entry(**keys: Any) -> Published:
    """0.95 ± 0.06 % error over 10 runs, changed."""
    given: dict[str, Any] = {
        **{"source": "somewhere", "method": "FM", "variant": "fm", "dataset": "mnist", "budget": 100},
        **{"value": 0.95, "unit": "error", "spread": 0.06, "spread_kind": "std", "runs": 10, "selection": "balanced"},
    }
    return Published(**given | keys)


def test_units() -> None:
    assert entry(value=93, unit="errors", spread=6.5).accuracy == pytest.approx(99.07)
    assert entry(value=93, unit="errors", spread=6.5).spread_points == pytest.approx(0.065)
    assert entry(value=651, unit="errors", spread=13.016, dataset="svhn").accuracy == pytest.approx(97.4992, abs=1e-4)
    assert entry(value=651, unit="errors", spread=13.016, dataset="svhn").spread_points == pytest.approx(0.05)
    assert entry(value=8.11, spread=1.3).accuracy == pytest.approx(91.89)
    assert entry(value=98.5, unit="accuracy").accuracy == 98.5
    assert entry().spread_points == 0.06


def test_standard_errors() -> None:
    assert entry(spread=0.3, runs=9).standard_error == pytest.approx(0.1)
    assert entry(spread=30, runs=9, value=90, unit="errors").standard_error == pytest.approx(0.1)
    assert entry(spread=0.3, runs=None, spread_kind="se").standard_error == 0.3
    for unknown in ({"runs": None}, {"spread_kind": "unknown"}, {"spread": None, "spread_kind": "unknown"}):
        assert entry(**unknown).standard_error is None


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"value": 101}, "accuracy of -1"),
        ({"value": 101, "unit": "accuracy"}, "accuracy of 101"),
        ({"value": 10_001, "unit": "errors"}, "accuracy"),
        ({"unit": "errors", "dataset": "cats-dogs"}, "cats-dogs"),
        ({"spread": None}, "kind of spread"),
        ({"runs": 1}, "one run"),
        ({"comparable": False}, "note"),
        ({"budget": 0}, "budget"),
        ({"budget": "most"}, "budget"),
        ({"selection": "handpicked"}, "selection"),
        ({"varient": "fm"}, "varient"),
    ],
)
def test_what_cannot_be_is_refused(keys: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        entry(**keys)


# --- beside ours -----------------------------------------------------------------------------------------------------


def cell(**changes: Any) -> pd.DataFrame:
    """A frame with one cell: `fm` on MNIST with 100 labels, 99.0 ± 0.1 % over ten runs, changed."""
    given: dict[str, Any] = {
        **{"dataset": "mnist", "protocol": "paper", "variant": "fm", "budget": 100, "policy": "last"},
        **{"n": 10, "failed": 0, "mean": 99.0, "std": 0.1, "base_variant": "fm"},
        **{"validation": 0, "left_out": 0, "selection": "balanced"},
    }
    return pd.DataFrame([given | changes])


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> pd.Series:
    table = beside(cell(**ours), [entry(**theirs)])
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize(
    ("std", "n", "spread", "runs"), [(0.1, 10, 0.06, 10), (4.0, 3, 0.5, 10), (0.02, 20, 0.4, 3), (1.0, 2, 0.5, 30)]
)
def test_the_verdict_is_that_of_welchs_test(std: float, n: int, spread: float, runs: int) -> None:
    def test(difference: float) -> Any:
        return stats.ttest_ind_from_stats(90 + difference, std, n, 90, spread, runs, equal_var=False)

    edge = optimize.brentq(lambda difference: test(difference).pvalue - 0.05, 0, 40 * (std + spread))
    theirs = {"value": 90, "unit": "accuracy", "spread": spread, "runs": runs}
    for difference, verdict in (
        *((0.999 * edge, "agrees"), (1.001 * edge, "higher")),
        *((-0.999 * edge, "agrees"), (-1.001 * edge, "lower")),
    ):
        row = compare({"mean": 90 + difference, "std": std, "n": n}, theirs)
        assert row["verdict"] == verdict
        assert row["standard_errors"] == pytest.approx(test(difference).statistic)
        assert row["difference"] == pytest.approx(difference)


def edge_of(standard_error: float, freedom: float) -> float:
    return float(stats.t.ppf(0.975, freedom)) * standard_error


@pytest.mark.parametrize(
    ("theirs", "edge", "caveat"),
    [
        ({"spread_kind": "unknown"}, 2.262 * 0.1 / math.sqrt(10), True),  # Student's t of 9 from a printed table
        ({"spread": None, "spread_kind": "unknown"}, 2.262 * 0.1 / math.sqrt(10), True),
        ({"runs": None}, 2.262 * 0.1 / math.sqrt(10), True),
        # 0.001 + 0.0004 = 0.0014; 0.0014^2 / (0.001^2 / 9) and 0.0014^2 / (0.001^2 / 9 + 0.0004^2 / 4)
        ({"spread": 0.02, "spread_kind": "se", "runs": None}, edge_of(math.sqrt(0.0014), 17.64), False),
        ({"spread": 0.02, "spread_kind": "se", "runs": 5}, edge_of(math.sqrt(0.0014), 12.970588), False),
    ],
)
def test_other_kinds_of_spread(theirs: dict[str, Any], edge: float, caveat: bool) -> None:
    below, above = (compare({"mean": 99.05 + factor * edge}, theirs) for factor in (0.999, 1.001))
    assert (below["verdict"], above["verdict"]) == ("agrees", "higher")
    assert ("their spread or number of runs is unknown" in below["why"]) is caveat


def test_a_row_in_full() -> None:
    row = compare({"n": 5, "mean": 99.1, "std": 0.2}, {"value": 95, "unit": "errors", "spread": 6})
    assert list(row.index) == COLUMNS
    same = ["dataset", "protocol", "variant", "budget", "ours", "std", "n", "source", "method", "spread_kind", "runs"]
    assert list(row[same]) == ["mnist", "paper", "fm", 100, 99.1, 0.2, 5, "somewhere", "FM", "std", 10]
    assert row["theirs"] == pytest.approx(99.05)
    assert row["spread"] == pytest.approx(0.06)
    assert row["difference"] == pytest.approx(0.05)
    assert row["standard_errors"] == pytest.approx(0.05 / math.sqrt(0.04 / 5 + 0.0036 / 10))
    # 0.00836^2 / (0.008^2 / 4 + 0.00036^2 / 9) = 4.364: Student's t 2.687
    assert row["why"] == "0.55 standard errors apart, at most 2.69 agree"


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        ({"protocol": "smoke"}, {}, "smoke runs prove only that the code runs"),
        ({"protocol": "smoke@10"}, {}, "smoke runs prove only that the code runs"),
        ({"protocol": "common"}, {}, "other networks and schedule than the paper's"),
        ({"protocol": "common@400"}, {}, "other networks and schedule than the paper's"),
        ({"protocol": "paper@0.1"}, {}, "another length of training than the paper's"),
        ({"protocol": "paper+v100", "validation": 100}, {}, "extra validation labels"),
        ({"protocol": "paper+u5000"}, {}, "fewer unlabelled images"),
        ({"variant": "fm[lr=0.3]"}, {}, "our variant has another recipe"),
        ({"variant": "fm (400 steps)"}, {}, "our variant has another recipe"),
        ({"policy": "oracle"}, {}, "ours peeks at the test set"),
        ({}, {"comparable": False, "note": "ensemble of 10 models"}, "theirs: ensemble of 10 models"),
        ({"failed": 2, "n": 8}, {}, "2 of 10 runs failed or diverged"),
        ({"failed": 1, "n": 8, "left_out": 3}, {}, "1 of 12 runs failed or diverged"),
        ({"n": 1, "std": math.nan}, {}, "one run has no spread"),
        ({"n": 0, "mean": math.nan, "std": math.nan}, {}, "no run to compare"),
        ({"std": 0.0}, {}, "our runs do not vary"),
        (
            {"protocol": "paper@2+v9+u8 (random)", "selection": "random"},
            {},
            "another length of training than the paper's; extra validation labels; fewer unlabelled images; "
            "another selection of labelled images",
        ),
    ],
)
def test_what_is_not_comparable(ours: dict[str, Any], theirs: dict[str, Any], why: str) -> None:
    assert compare({}, {})["verdict"] == "agrees"
    row = compare(ours, theirs)
    assert (row["verdict"], row["why"]) == ("not comparable", why)


@pytest.mark.parametrize(
    ("ours", "theirs", "comparable"),
    [
        ("balanced", "balanced", True),
        ("balanced", "random", True),
        ("balanced", "unknown", True),
        ("balanced", "hand", False),
        ("balanced", "first", False),
        ("random", "random", True),
        ("random", "balanced", False),
        ("random", "unknown", False),
        ("first", "first", True),
        ("first", "hand", False),
        ("prototypes", "hand", True),
        ("file:0123456789ab", "hand", True),
        ("prototypes", "balanced", False),
        ("file:0123456789ab", "unknown", False),
    ],
)
def test_selections(ours: str, theirs: str, comparable: bool) -> None:
    protocol = "paper" if ours == "balanced" else f"paper ({ours})"
    row = compare({"protocol": protocol, "selection": ours}, {"selection": theirs})
    assert (row["verdict"] == "agrees") is comparable
    assert ("another selection of labelled images" in row["why"]) is not comparable
    assert ("picked by hand" in row["why"]) is (comparable and theirs == "hand")


@pytest.mark.parametrize(
    ("theirs", "caveat"),
    [
        ({"policy": "best-test"}, "theirs peeks at the test set"),
        ({"policy": "best-validation"}, "theirs is the best on validation images"),
        ({"quoted": True}, "theirs is quoted"),
        ({"unverified": True}, "theirs is not verified"),
    ],
)
def test_caveats(theirs: dict[str, Any], caveat: str) -> None:
    plain, row = compare({}, {}), compare({}, theirs)
    assert row["verdict"] == "agrees"
    assert row["why"] == f"{plain['why']}; {caveat}"


def test_two_that_peek_are_compared() -> None:
    assert compare({"policy": "oracle"}, {"policy": "best-test"})["verdict"] == "agrees"


def test_all_labels_are_the_whole_training_set() -> None:
    everything = entry(budget="all", selection="unknown")
    assert beside(cell(budget=55_000), [everything]).empty
    first = beside(cell(budget=60_000, protocol="paper (first)", selection="first"), [everything])
    assert list(first["verdict"]) == ["agrees"]


@pytest.mark.parametrize("other", [{"dataset": "svhn"}, {"base_variant": "bad"}, {"budget": 50}])
def test_a_number_stands_only_beside_its_own_cell(other: dict[str, Any]) -> None:
    assert beside(cell(**other), [entry()]).empty
    assert list(beside(cell(**other), [entry()]).columns) == COLUMNS
    assert len(beside(pd.concat([cell(**other), cell()]), [entry(variant=None), entry(), entry(quoted=True)])) == 2


def test_cells_of_runs(record: MakeRecord) -> None:
    runs = [record([e], seed=s, dataset="mnist", budget=100, protocol="paper") for s, e in enumerate((1, 2, 3))]
    table = beside(cells(runs_frame(runs, "last")))
    paper = table[table["source"] == "Salimans et al., arXiv:1606.03498, Table 1"]
    assert list(paper["verdict"]) == ["agrees", "not comparable"]  # the model and the ensemble
    expected = stats.ttest_ind_from_stats(99, 0.5, 3, 99.07, 0.065, 10, equal_var=False)
    assert paper["standard_errors"].iloc[0] == pytest.approx(expected.statistic)
    assert set(table["variant"]) == {"fm"}
    assert beside(cells(runs_frame([], "last"))).empty
