"""Reports are parsed back: the numbers, the names, and what a reader has to be told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.aggregate import aggregates
from bench.analysis.comparison import comparisons, quartiles
from bench.errors import UsageError
from bench.reporting.comparison import comparison_report
from bench.reporting.figures.ranks import cd_diagram
from bench.reporting.published import published_section

HOSTILE = ["a|b", "a\\|b", "$x^$", "two\nlines", "fm[lr=0.3]", "**bold**"]
FM, SUPERVISED = [95.0, 94.2, 96.0, 95.4, 93.0, 97.0], [90.0, 91.0, 92.2, 88.0, 91.8, 92.0]


def frame(cells: dict[tuple[str, int], list[float]], **fields: Any) -> pd.DataFrame:
    """Runs on 1,000 test images by (variant, budget): accuracy by seed; missing: failed."""
    rows = [
        {
            **{"dataset": "digits", "protocol": "common", "variant": variant, "base_variant": variant},
            **{"budget": budget, "selection": "balanced", "validation": 0, "seed": seed, "policy": "last"},
            **{"status": "failed" if np.isnan(accuracy) else "done", "accuracy": accuracy},
            **{"errors": 1000 - 10 * accuracy, "test_images": 1000},
        }
        | fields
        for (variant, budget), accuracies in cells.items()
        for seed, accuracy in enumerate(accuracies)
    ]
    return pd.DataFrame(rows)


def report(runs: pd.DataFrame, metric: str = "accuracy", **options: Any) -> str:
    made = quartiles(runs, metric), comparisons(runs, metric), aggregates(runs, metric)
    return comparison_report(*made, metric, **options)


def grids(markdown: str) -> list[list[dict[str, str]]]:
    """The tables, each a list of rows by column name, split where GitHub splits them."""
    tables = []
    for block in markdown.split("\n\n"):
        if block.startswith("|"):
            cut = [re.findall(r"(?:\\.|[^|\\])+", line.strip("|")) for line in block.splitlines()]
            head, _, *rows = [[re.sub(r"\\(.)", r"\1", text.strip()) for text in row] for row in cut]
            tables.append([dict(zip(head, row, strict=True)) for row in rows])
    return tables


def many(variants: int, budgets: tuple[int, ...] = (20, 50), seeds: int = 6) -> pd.DataFrame:
    """Variant v6 is better than v5 and so on, `supervised` the worst."""
    rng = np.random.default_rng(0)
    names = ["supervised", *(f"v{i}" for i in range(1, variants))]
    cells = {(v, b): list(80 + 2 * i + rng.normal(size=seeds)) for i, v in enumerate(names) for b in budgets}
    return frame(cells)


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_a_cell_s_statistics() -> None:
    (row,) = grids(report(frame({("fm", 20): FM})))[0]
    low, high = stats.ttest_1samp(FM, 0).confidence_interval(0.95)
    assert row == {
        **{"variant": "fm", "n": "6", "failed": "0", "mean": "95.10", "std": f"{np.std(FM, ddof=1):.2f}"},
        **{"95 % interval": f"{low:.2f} to {high:.2f}", "median": "95.20", "quartiles": "94.40 to 95.85"},
        "minimum": "93.00",
    }


def test_a_pair_s_statistics() -> None:
    _, (row,) = grids(report(frame({("supervised", 20): SUPERVISED, ("fm", 20): FM})))
    test = stats.ttest_rel(FM, SUPERVISED)
    low, high = test.confidence_interval(0.95)
    assert (row["a"], row["b"], row["n"]) == ("fm", "supervised", "6")
    assert row["a - b"] == f"+{np.mean(np.subtract(FM, SUPERVISED)):.2f}"
    assert row["95 % interval"] == f"+{low:.2f} to +{high:.2f}"
    assert row["p (t)"] == f"{test.pvalue:.4f}"
    assert row["Holm (t)"] == f"{test.pvalue:.4f} *"
    assert (row["p (Wilcoxon)"], row["Holm (Wilcoxon)"]) == ("0.0312", "0.0312 *")
    assert row["a better"] == "100 %"
    # noncentral t: 80 % power at 1.435 sd of six differences
    assert row["detectable"] == f"{1.4350 * np.std(np.subtract(FM, SUPERVISED), ddof=1):.2f}"


def test_failures_are_counted_and_make_no_pair() -> None:
    broken = [*FM[:4], np.nan, np.nan]
    text = report(frame({("fm", 20): broken, ("ct", 20): SUPERVISED}))
    cells, (pair,) = grids(text)
    assert [(row["n"], row["failed"]) for row in cells] == [("4", "2"), ("6", "0")]
    assert pair["n"] == "4 (2 lost)"
    assert "enter no average and make no pair" in text


def test_errors_are_counted_in_images_and_fewer_are_better() -> None:
    cells, (pair,) = grids(report(frame({("fm", 20): FM, ("ct", 20): SUPERVISED}), "errors"))
    assert cells[0]["mean"] == "49.0"
    assert pair["a - b"].startswith("-")
    assert pair["a better"] == "100 %"


def test_all_cells_together() -> None:
    text = report(many(4))
    table = grids(text)[-1]
    assert [(row["variant"], row["mean rank"], row["runs"]) for row in table] == [
        *(("v3", "1.00", "12"), ("v2", "2.00", "12"), ("v1", "3.00", "12"), ("supervised", "4.00", "12"))
    ]
    assert "2 blocks of 4 variants: digits, 20 labels; digits, 50 labels." in text
    assert f"has p {stats.chi2.sf(6, 3):.4f}." in text  # both blocks agree: N (k - 1) = 6
    assert "its p is never below 0.1116: it cannot reach 0.05" in text
    assert f"less than {2.569 * np.sqrt(20 / 12):.2f} are not told apart" in text
    assert "Blocks that share a dataset are not independent" in text


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "said"), [(5, "never below 0.0625: the test cannot reach 0.05"), (6, None)])
def test_a_test_that_cannot_reach_its_threshold_is_named(seeds: int, said: str | None) -> None:
    text = report(frame({("fm", 20): FM[:seeds], ("ct", 20): SUPERVISED[:seeds]}))
    assert ("cannot reach" in text) == (said is not None)
    assert said is None or said in text


def test_the_correction_counts_for_that_too() -> None:
    """Three pairs at n = 6: 3 / 32 at least."""
    text = report(many(3, budgets=(20,)))
    assert "never below 0.0312, and 0.0938 after the correction over 3 pairs: the corrected test cannot reach" in text


def test_one_seed_or_one_variant_is_not_tested() -> None:
    text = report(frame({("fm", 20): FM[:1], ("ct", 20): SUPERVISED[:1]}))
    assert grids(text)[1][0]["p (t)"] == "–"
    assert "No pair has two seeds: nothing can be tested." in text
    alone = report(frame({("fm", 20): FM}))
    assert "There is no other variant to compare with." in alone
    assert "paired" not in alone


def test_of_many_variants_each_is_compared_with_the_baseline_alone() -> None:
    runs = many(7, budgets=(20,))
    pairs = comparisons(runs, with_baseline_only=True)
    text = comparison_report(quartiles(runs), pairs, aggregates(runs), with_baseline_only=True)
    shown = {(row["a"], row["b"]) for row in grids(text)[1]}
    names = [f"v{i}" for i in range(1, 7)]
    assert shown == {(name, "supervised") for name in names}
    assert "each is compared with `supervised` only" in text
    assert "over all 6 pairs of this dataset and protocol, its budgets together" in text
    assert len(grids(report(runs))[1]) == 21


def test_smoke_runs_mean_nothing() -> None:
    cells = {("fm", 20): FM, ("ct", 20): SUPERVISED, ("fm", 50): FM, ("ct", 50): SUPERVISED}
    assert report(frame(cells, protocol="smoke@4")).count("their numbers mean nothing") == 2
    assert "mean nothing" not in report(frame(cells))


def test_policy_and_extra_labels_are_said() -> None:
    text = report(frame({("fm", 20): FM}, validation=100), policy="best-validation")
    assert "uses 100 extra validation labels" in text


def test_blocks_that_some_variant_lacks_are_named() -> None:
    runs = many(3)
    lacking = runs[(runs["variant"] != "v1") | (runs["budget"] != 50)]
    text = report(lacking)
    assert "1 block of 3 variants: digits, 20 labels." in text
    assert "Left out, because some variant has no mean there: digits, 50 labels." in text
    apart = lacking[(lacking["variant"] != "v2") | (lacking["budget"] != 20)]
    assert "No cell has a mean of all 3 variants." in report(apart)


@pytest.mark.parametrize("name", HOSTILE)
def test_odd_names_survive(name: str) -> None:
    text = report(frame({(name, 20): FM, ("ct", 20): SUPERVISED}, dataset=name))
    shown = " ".join(name.split())
    cells, (pair,) = grids(text)
    assert (cells[0]["variant"], pair["a"]) == (shown, shown)


def test_no_runs_are_refused() -> None:
    with pytest.raises(UsageError, match="no runs to compare"):
        report(frame({("fm", 20): FM}).iloc[:0])


# --- published numbers, and the diagram ------------------------------------------------------------------------------


def test_published_numbers_beside() -> None:
    row = {
        **{"dataset": "mnist", "protocol": "paper", "variant": "fm", "budget": 100, "ours": 98.9, "std": 0.1, "n": 3},
        **{"source": "Somebody (2016)", "method": "FM-GAN", "theirs": 99.07, "spread": 0.065, "spread_kind": "std"},
        **{"runs": 10, "difference": -0.17, "standard_errors": -2.77, "verdict": "lower", "why": "p | q"},
    }
    bare = row | {"std": np.nan, "n": 1, "spread": np.nan, "spread_kind": "unknown", "runs": pd.NA}
    beside = pd.DataFrame([row, bare | {"standard_errors": np.nan}]).astype({"runs": "Int64"})
    ((first, second),) = grids(published_section(beside))
    assert first["cell"] == "mnist, paper, 100 labels"
    assert first["source"] == "Somebody (2016): FM-GAN"
    assert (first["ours"], first["published"]) == ("98.90 ± 0.10 (n = 3)", "99.07 ± 0.07 std (n = 10)")
    assert (first["ours - published"], first["in standard errors"]) == ("-0.17", "-2.8")
    assert (first["verdict"], first["why"]) == ("lower", "p | q")
    assert (second["ours"], second["published"], second["in standard errors"]) == ("98.90 (n = 1)", "99.07", "–")
    assert "Nothing has been published" in published_section(beside.iloc[:0])


def test_the_diagram_shows_every_variant_and_its_rank(tmp_path: Path) -> None:
    runs = many(4).replace({"variant": {"v1": "$x^$"}})
    other = runs.assign(protocol="paper")
    cd_diagram(aggregates(pd.concat([runs, other], ignore_index=True)), tmp_path / "ranks.svg")
    text = (tmp_path / "ranks.svg").read_text()
    for label in ("v3 (1.00)", "v2 (2.00)", "(3.00) $x^$", "(4.00) supervised"):
        assert text.count(f"<!-- {label} -->") == 2
    assert text.count("mean rank over 2 cells, critical difference 3.32") == 2
    cd_diagram(aggregates(runs), tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")


def test_no_diagram_without_three_variants_in_two_cells(tmp_path: Path) -> None:
    for runs in (many(2), many(4, budgets=(20,))):
        with pytest.raises(UsageError, match="needs three variants"):
            cd_diagram(aggregates(runs), tmp_path / "ranks.svg")
    with pytest.raises(UsageError, match=r"\.svg, \.png, \.pdf"):
        cd_diagram(aggregates(many(4)), tmp_path / "ranks.docx")
    assert not list(tmp_path.iterdir())
