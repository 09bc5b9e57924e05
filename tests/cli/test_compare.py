"""`bench compare` on runs that are written for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.datasets import Dataset
from bench.grid import Options, plan
from bench.store import Curve, Record, Store

Cli = Callable[..., Any]
SEEDS = 6


def records(digits: Dataset, protocol: str) -> Iterator[Record]:
    """`fm` has 2 errors fewer than `supervised` on even seeds, 4 on odd ones; `triple` fails on seed 0."""
    options = Options(variants="supervised,fm,triple", labels="20,50", seeds=str(SEEDS), protocol=protocol)
    for run in plan(options, digits):
        if run.variant == "triple" and run.seed == 0:
            yield Record(run=run, status="failed", reason="no luck")
            continue
        wrong = 100 + 10 * run.seed - {"supervised": 0, "fm": 2 + 2 * (run.seed % 2), "triple": 1}[run.variant]
        curve = Curve(steps=[run.steps], seconds=[1.0], raw=[wrong])
        yield Record(run=run, status="done", test_images=500, curve=curve)


@pytest.fixture
def results(digits: Dataset, tmp_path: Path) -> Path:
    for record in records(digits, "common"):
        Store(tmp_path / "results" / "runs").write(record)
    return tmp_path


def row(text: str, *names: str) -> list[str]:
    """The cells of the first row that begins with these names."""
    line = next(line for line in text.splitlines() if re.match(r"\| *" + r" *\| *".join(names) + r" *\|", line))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_all_pairs_with_differences_tests_and_failures(bench_cli: Cli, results: Path) -> None:
    code, out, err = bench_cli("compare")
    assert (code, err) == (0, "")
    assert "digits, common" in out
    assert row(out, "triple")[1:3] == ["5", "1"]
    pair = row(out, "fm", "supervised")
    assert pair[2:4] == ["6", "+0.60"]  # 3 of 500 images on average
    assert pair[9] == "100 %"
    assert row(out, "fm", "triple")[2] == "5 (1 lost)"
    assert "Friedman" in out
    assert "all cells together" in out


def test_only_the_variants_named_and_a_diagram(bench_cli: Cli, results: Path) -> None:
    code, out, _ = bench_cli("compare", "--variants", "fm,supervised", "--output", "c.md", "--metric", "errors")
    assert code == 0
    text = (results / "c.md").read_text()
    assert row(text, "fm", "supervised")[3] == "-3.0"
    assert "triple" not in text
    code, out, _ = bench_cli("compare", "--figure", "ranks.svg")
    assert code == 0
    assert "wrote ranks.svg" in out
    assert "supervised" in (results / "ranks.svg").read_text()


def test_published_numbers_are_named_or_said_to_be_missing(bench_cli: Cli, results: Path) -> None:
    _, out, _ = bench_cli("compare", "--published")
    assert "Nothing has been published for these cells." in out  # nobody publishes digits


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no results folder"),
        (["--variants", "fn"], "unknown variant 'fn'"),
        (["--policy", "best"], "unknown policy 'best'"),
        (["--metric", "f1"], "unknown metric 'f1'"),
        (["--dataset", "mnist"], "unknown dataset 'mnist'"),
        (["--figure", "ranks.docx"], "--figure 'ranks.docx': allowed endings are .svg, .png, .pdf"),
        (["--variants", "fm", "--figure", "ranks.svg"], "needs three variants"),
        (["--output", "no/where.md"], "--output 'no/where.md' cannot be written"),
    ],
)
def test_mistakes(words: list[str], message: str, bench_cli: Cli, results: Path) -> None:
    code, _, err = bench_cli("compare", *words)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
