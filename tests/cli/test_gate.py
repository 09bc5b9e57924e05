"""`bench gate` against planted regressions: what is broken goes red, what only wobbles does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from bench import registry
from bench.datasets.firewall import Indices, LabelledSet
from bench.store import Store

Cli = Callable[..., Any]
SUITE = """
variants: [fm]
dataset: digits
labels: 100
seeds: 5
steps: 100
set: [fm.evaluations=2]
"""
# Where the generator matters: without it fm is no better than supervised, 5 points lower.
SHARP = SUITE.replace("labels: 100", "labels: 50").replace("seeds: 5", "seeds: 8").replace("steps: 100", "steps: 400")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the baseline and its runs are kept for all tests of this file."""
    return tmp_path_factory.mktemp("gate")


@pytest.fixture
def baseline(bench_cli: Cli, kept: Path) -> Path:
    path = kept / "baseline.json"
    if not path.exists():
        (kept / "small.yaml").write_text(SUITE)
        words = ["--update", str(path), "--suite", str(kept / "small.yaml"), "--results", str(kept / "runs")]
        code, out, err = bench_cli("gate", *words)
        assert (code, err) == (0, "")
        assert "5 runs in 1 cells" in out
    return path


def test_the_same_code_passes_to_the_bit(bench_cli: Cli, baseline: Path, kept: Path) -> None:
    (kept / "small.yaml").unlink(missing_ok=True)  # the baseline knows its suite
    code, out, _ = bench_cli("gate", str(baseline))  # trains anew, into another folder
    assert code == 0
    assert "5 runs, 0 of them already stored" in out
    assert "all 5 curves are equal to the bit" in out
    assert "PASS: no regression in 1 cells" in out


def test_runs_of_other_code_are_not_taken_for_todays(
    bench_cli: Cli, baseline: Path, kept: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results" / "runs")
    for record in Store(kept / "runs").records():
        store.write(record.model_copy(update={"provenance": record.provenance | {"source": "another"}}))
    code, _, err = bench_cli("gate", str(baseline))
    assert code == 2
    assert "5 runs in 'results/runs'" in err
    assert "were made by other code than this" in err
    code, out, _ = bench_cli("gate", str(baseline), "--no-run")
    assert code == 0
    assert "5 of 5 runs were made by other code than this" in out


@pytest.mark.slow
def test_the_sign_of_feature_matching_goes_red(bench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fm = registry.get("fm")
    original = fm.generator_loss  # type: ignore[attr-defined]

    def reversed_sign(self: Any, *args: Any) -> Any:
        loss, *rest = original(self, *args)
        return (-loss, *rest)

    (tmp_path / "sharp.yaml").write_text(SHARP)
    assert bench_cli("gate", "--update", "sharp.json", "--suite", "sharp.yaml", "--results", "before").code == 0
    monkeypatch.setattr(fm, "generator_loss", reversed_sign)
    code, out, _ = bench_cli("gate", "sharp.json")
    assert code == 1, out
    assert "REGRESSION in 1 of 1 cells: fm, 50 labels (digits, common@400)" in out
    assert "NUMERICS CHANGED in 8 of 8 curves" in out


def test_shuffled_labels_of_one_class_go_red(bench_cli: Cli, baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = LabelledSet.read

    def shuffled(self: LabelledSet, positions: Any) -> Indices:
        labels = read(self, positions).copy()
        wrong = labels == 3
        labels[wrong] = positions[wrong] % 10
        return labels

    monkeypatch.setattr(LabelledSet, "read", shuffled)
    code, out, _ = bench_cli("gate", str(baseline))
    assert code == 1, out


def test_a_learning_rate_far_too_high_goes_red(bench_cli: Cli, baseline: Path) -> None:
    code, out, _ = bench_cli("gate", str(baseline), "--set", "fm.lr=0.3")
    assert code == 1, out
    assert "NUMERICS CHANGED" in out


def test_averages_switched_off_are_seen_by_the_exact_tier(
    bench_cli: Cli, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.training.ema import Average

    with monkeypatch.context() as patch:
        patch.setattr(Average, "update", lambda self: self.flat.copy_(self.network.flat))
        code, out, _ = bench_cli("gate", str(baseline))
    assert "Exact tier: NUMERICS CHANGED in" in out
    assert code == 0, out


@pytest.mark.slow
def test_raw_weights_in_the_place_of_averages_are_seen_by_the_exact_tier(bench_cli: Cli, baseline: Path) -> None:
    code, out, _ = bench_cli("gate", str(baseline), "--set", "fm.evaluate_with=raw")
    assert "Exact tier: NUMERICS CHANGED in" in out
    assert code == 0, out


@pytest.mark.slow
def test_numerics_that_wobble_pass_and_are_reported(
    bench_cli: Cli, baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another rounding of every loss."""
    fm = registry.get("fm")
    original = fm.generator_loss  # type: ignore[attr-defined]

    def rounded(self: Any, *args: Any) -> Any:
        loss, *rest = original(self, *args)
        moved: Tensor = loss * (1 + 2**-20)
        return (moved, *rest)

    monkeypatch.setattr(fm, "generator_loss", rounded)
    code, out, _ = bench_cli("gate", str(baseline))
    assert code == 0, out
    assert "NUMERICS CHANGED" in out


def test_a_run_that_fails_goes_red(bench_cli: Cli, baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Any, *args: Any) -> Any:
        raise ValueError("no luck today")

    monkeypatch.setattr(registry.get("fm"), "generator_loss", failing)
    code, out, _ = bench_cli("gate", str(baseline))
    assert code == 1
    assert "REGRESSION (5 more failed or diverged)" in out


def test_too_little_is_no_pass(bench_cli: Cli, baseline: Path, kept: Path, tmp_path: Path) -> None:
    code, out, _ = bench_cli("gate", str(baseline), "--no-run", "--results", "nowhere")
    assert (code, "TOO LITTLE MEASURED" in out) == (3, True)
    few = Store(tmp_path / "few")
    few.write(next(Store(kept / "runs").records()))
    code, out, _ = bench_cli("gate", str(baseline), "--no-run", "--results", "few")
    assert (code, "too little measured (n=1)" in out) == (3, True)
    (tmp_path / "one.yaml").write_text(SUITE.replace("seeds: 5", "seeds: 2").replace("steps: 100", "steps: 2"))
    code, out, _ = bench_cli("gate", "--update", "new.json", "--suite", "one.yaml")
    assert (code, "a baseline needs 3 runs per cell" in out) == (3, True)
    assert not (tmp_path / "new.json").exists()


@pytest.mark.slow
def test_runs_of_another_recipe_are_matched_by_their_cell(bench_cli: Cli, baseline: Path, tmp_path: Path) -> None:
    grid = ["--labels", "100", "--seeds", "5", "--steps", "100", "--variants", "fm", "--set", "fm.evaluations=2"]
    assert bench_cli("run", *grid, "--set", "fm.lr=0.0031", "--results", "other").code == 0
    code, out, _ = bench_cli("gate", str(baseline), "--no-run", "--results", "other")
    assert code == 0, out
    assert "(n=5)" in out
    assert "NUMERICS CHANGED" in out
    assert bench_cli("run", *grid, "--set", "fm.lr=0.0032", "--results", "other", "--seeds", "1").code == 0
    code, _, err = bench_cli("gate", str(baseline), "--no-run", "--results", "other")
    assert code == 2
    assert "seed 0 of fm, 100 labels (digits, common@100) is there with several recipes" in err
    store = Store(tmp_path / "stale")
    for record in list(Store(tmp_path / "other").records())[:3]:
        store.write(record.model_copy(update={"run": record.run.model_copy(update={"version": 99, "id": "f" * 16})}))
        break
    code, out, _ = bench_cli("gate", str(baseline), "--no-run", "--results", "stale")
    assert code == 3
    assert "1 stale runs do not count" in out


def test_a_crash_is_no_verdict(bench_cli: Cli, baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> None:
        raise RuntimeError("a defect of the gate")

    monkeypatch.setattr("bench.analysis.gate.judge", crash)
    code, _, err = bench_cli("gate", str(baseline), "--no-run")
    assert code == 4
    assert "RuntimeError: a defect of the gate" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either a baseline"),
        (["b.json", "--update", "c.json"], "give either a baseline"),
        (["--update", "c.json"], "--suite and --update belong together"),
        (["b.json", "--suite", "gate-digits"], "--suite and --update belong together"),
        (["--update", "c.json", "--suite", "gate-digits", "--set", "fm.lr=1"], "--set and --update exclude each other"),
        (["--update", "c.json", "--suite", "gate-digits", "--precision", "tf32"], "--precision and --update exclude"),
        (["b.json", "--precision", "tf32", "--device", "cpu"], "a CPU computes in fp32"),
        (["--update", "no/c.json", "--suite", "gate-digits"], "name a file in an existing folder"),
        (["--update", "c.json", "--suite", "gate-digit"], "Did you mean 'gate-digits'"),
        (["b.json"], "baseline 'b.json' cannot be read"),
    ],
)
def test_mistakes(words: list[str], message: str, bench_cli: Cli) -> None:
    code, _, err = bench_cli("gate", *words)
    assert code == 2
    assert message in err


def test_unknown_fields_are_refused(bench_cli: Cli, baseline: Path) -> None:
    code, _, err = bench_cli("gate", str(baseline), "--set", "fm.learning=1")
    assert code == 2
    assert "unknown recipe field of fm 'learning'" in err


def test_a_baseline_is_plain_json(baseline: Path) -> None:
    data = json.loads(baseline.read_text())
    assert data["name"] == "small"
    ((cell, runs),) = data["cells"]
    assert cell == {"dataset": "digits", "protocol": "common@100", "variant": "fm", "budget": 100}
    assert [run["seed"] for run in runs] == list(range(5))
