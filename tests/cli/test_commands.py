"""The commands on a small store: what they print, write and leave alone."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from bench import registry
from bench.cli.app import app
from bench.datasets import names as dataset_names
from bench.grid import suites
from bench.reporting.reproduce import command
from bench.store import Store

Cli = Callable[..., Any]
GRID = ["--variants", "supervised,fm", "--labels", "20,50", "--seeds", "0-1", "--steps", "4"]
GRID += ["--set", "fm.evaluations=2", "--set", "fm.lr=0.02", "--set", "supervised.evaluations=2"]
UNLUCKY = """
from bench.registry import get
class Unlucky(get('supervised')):
    name = 'unlucky'
    def loss(self, *args):
        raise ValueError('no luck today')
"""
COLUMNS = "dataset,protocol,variant,budget,policy,n,failed,mean,std,ci_low,ci_high,median,min"


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """`bench run` as a user runs it, with worker processes: the folder and what it said. Once for all test workers."""
    shared = (
        tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else tmp_path_factory.mktemp("x")
    )
    folder, said = shared / "user", shared / "user.json"
    with FileLock(shared / "user.lock"):
        if not said.exists():
            folder.mkdir()
            words = [sys.executable, "-c", "from bench.cli import main; main()", "run", *GRID, "--jobs", "1"]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
            said.write_text(json.dumps([words, done.returncode, done.stdout, done.stderr]))
    return folder, subprocess.CompletedProcess(*json.loads(said.read_text()))


@pytest.fixture
def store(whole_run: tuple[Path, Any], tmp_path: Path, bench_cli: Cli) -> Store:
    """A copy of its results, in the folder where `bench_cli` works."""
    shutil.copytree(whole_run[0] / "results", tmp_path / "results")
    return Store(tmp_path / "results" / "runs")


# --- bench run ---


def test_run_trains_the_grid_and_says_how_to_go_on(whole_run: tuple[Path, Any]) -> None:
    folder, done = whole_run
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    records = list(Store(folder / "results" / "runs").records())
    assert [record.status for record in records] == ["done"] * 8
    assert "8 runs, 0 of them already stored" in done.stdout
    assert "±" in done.stdout
    assert "fm[evaluations=2,lr=0.02]" in done.stdout
    for part in ("results/runs/digits/fm", "bench table", "bench show", "bench list runs"):
        assert part in done.stdout
    assert "Hint" not in done.stdout  # the baseline is there
    assert any("step" in line for line in done.stdout.splitlines())  # log lines where there is no terminal


def test_the_same_command_again_trains_nothing(bench_cli: Cli, store: Store) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in store.folder.root.rglob("*.json")}
    code, out, _ = bench_cli("run", *GRID)
    assert code == 0
    assert "8 runs, 8 of them already stored" in out
    assert {path: path.stat().st_mtime_ns for path in store.folder.root.rglob("*.json")} == stamps


def test_a_missing_run_is_completed_with_the_same_numbers(bench_cli: Cli, store: Store) -> None:
    """In this process, alone, and after a worker had trained it in a cohort."""
    record = next(store.records())
    (store.folder.root / store.name(record.run)).unlink()
    code, out, _ = bench_cli("run", *GRID)
    assert code == 0
    assert "7 of them already stored" in out
    assert store.get(record.id).content() == record.content()


def test_a_table_without_the_baseline_gets_a_hint(bench_cli: Cli, store: Store) -> None:
    words = [word for word in GRID if "supervised.evaluations" not in word]
    words = [*words[: words.index("--set")], "--set", "fm.evaluations=2", "--set", "fm.lr=0.02"]
    _, out, _ = bench_cli("run", *words, "--variants", "fm")
    assert "no `supervised` baseline" in out


def test_dry_run_writes_nothing(bench_cli: Cli, tmp_path: Path) -> None:
    words = ("--variants", "supervised", "--labels", "20,50", "--seeds", "0-1", "--steps", "4")
    code, out, err = bench_cli("run", *words, "--dry-run")
    assert (code, err) == (0, "")
    assert "4 runs on digits, 4 of them to train" in out
    assert "cohorts" in out
    assert "Estimate" in out
    assert list(tmp_path.iterdir()) == []


def test_a_suite_is_a_grid_that_options_override(bench_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("variants: [supervised]\nlabels: [30]\nseeds: [5, 6]\nscale: 0.5")
    _, out, _ = bench_cli("run", "--suite", "mine.yaml", "--dry-run", "--steps", "3")
    assert "supervised, common@3: 30 labels, 3 steps, 2 seeds" in out
    _, out, _ = bench_cli("run", "--suite", "mine.yaml", "--dry-run", "--labels", "40", "--steps", "3")
    assert "40 labels" in out
    assert "30 labels" not in out


def test_a_failed_run_is_shown_and_counts(bench_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "unlucky.py").write_text(UNLUCKY)
    code, out, _ = bench_cli("run", "--plugin", "unlucky.py", "--variants", "unlucky,supervised", *GRID[2:8])
    assert code == 1
    assert "failed (4 runs" in out
    assert "ValueError: no luck today" in out


WORDS = ["run", "--variants", "supervised", "--labels", "20", "--seeds", "2", "--steps", "2"]


@pytest.mark.parametrize("stores", [True, False])
def test_runs_that_another_process_holds_are_awaited(stores: bool, bench_cli: Cli, tmp_path: Path) -> None:
    """What the other one stores is not repeated; what it leaves undone is taken over."""
    assert bench_cli(*WORDS).code == 0
    store = Store(tmp_path / "results" / "runs")
    first, second = store.records()
    (store.folder.root / store.name(first.run)).unlink()
    held = threading.Event()

    def other_process() -> None:
        lock = store.hold(first.run)
        assert lock is not None
        with lock:
            held.set()
            time.sleep(2)
            if stores:
                store.write(first.model_copy(update={"provenance": {"by": "the other one"}}))

    other = threading.Thread(target=other_process)
    other.start()
    held.wait()
    code, out, err = bench_cli(*WORDS)
    other.join()
    assert (code, err) == (0, "")
    assert "1 runs are in training by another process; waiting" in out
    assert [record.content() for record in store.records()] == [first.content(), second.content()]
    assert (store.get(first.id).provenance == {"by": "the other one"}) == stores


@pytest.mark.parametrize("running", [True, False])
def test_list_runs_shows_what_is_in_training(running: bool, bench_cli: Cli, tmp_path: Path) -> None:
    assert bench_cli(*WORDS).code == 0
    store = Store(tmp_path / "results" / "runs")
    first, second = (record.run for record in store.records())
    (store.folder.root / store.name(first)).unlink()
    store.checkpoints.save(first, 1, {"at": 1}, (first.id,), {})
    store.checkpoints.save(second, 1, {"at": 1}, (second.id,), {})  # left over: that run is done
    with store.folder.hold(first.id) if running else contextlib.nullcontext():
        _, out, _ = bench_cli("list", "runs")
    done, begun = out.splitlines()
    assert done.split("  ")[:2] == [second.id, "done"]
    state = "running" if running else "interrupted"
    assert begun.split("  ")[:3] == [first.id, f"{state} (saved at step 1 of 2)", "digits"]


def test_no_plug_in_is_loaded_that_is_not_named(bench_cli: Cli, tmp_path: Path) -> None:
    """A results folder from somebody else names a plug-in; reading it, and repeating a run of it, runs no such code."""
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path('executed').touch()")
    assert bench_cli(*WORDS).code == 0
    store = Store(tmp_path / "results" / "runs")
    for record in store.records():
        origin = record.provenance["origin"] | {"plugins": [str(tmp_path / "evil.py")]}
        path = store.folder.root / store.name(record.run)
        path.unlink()
        store.write(record.model_copy(update={"provenance": record.provenance | {"origin": origin}}))
    for words in (["list", "runs"], ["table"], ["compare"], ["show", next(store.records()).id], WORDS):
        assert bench_cli(*words).code == 0
    assert not (tmp_path / "executed").exists()
    assert "--plugin" in bench_cli("show", next(store.records()).id).out  # which is only said


def test_a_time_limit_ends_a_call_that_waits(bench_cli: Cli, tmp_path: Path) -> None:
    assert bench_cli(*WORDS).code == 0
    store = Store(tmp_path / "results" / "runs")
    (first, _) = store.records()
    (store.folder.root / store.name(first.run)).unlink()
    with store.folder.hold(first.id):
        code, out, _ = bench_cli(*WORDS, "--time-limit", "1s")
    assert code == 3
    assert "Time limit reached: 1 of 2 runs are unfinished" in out
    assert out.rstrip().endswith("bench run --variants supervised --labels 20 --seeds 2 --steps 2 --time-limit 1s")


@pytest.mark.parametrize("selection", ["random", "first"])
def test_smoke_on_real_mnist(selection: str, bench_cli: Cli, data_root: Path) -> None:
    """The papers' networks at the papers' sizes: 2 steps each."""
    code, out, err = bench_cli(
        "run", "--dataset", "mnist", "--data", str(data_root), "--protocol", "smoke", "--steps", "2", "--variants",
        "supervised,fm,triple", "--labels", "100", "--seeds", "1", "--label-selection", selection,
    )  # fmt: skip
    assert code == 0, err
    assert "mnist" in out
    assert "smoke@2" in out


# --- bench table ---


def numbers(store: Store, variant: str, budget: int) -> list[float]:
    """Last test accuracies in percent, read off the files themselves."""
    found = []
    for path in store.folder.root.glob(f"*/{variant}/*.json"):
        data = json.loads(path.read_text())
        if data["run"]["budget"] == budget:
            found.append(100 * (1 - data["curve"]["ema"][-1] / data["test_images"]))
    return found


def test_csv(bench_cli: Cli, store: Store) -> None:
    code, out, err = bench_cli("table", "--format", "csv")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["variant"], row["budget"]) for row in rows] == [
        ("supervised[evaluations=2]", "20"), ("supervised[evaluations=2]", "50"),
        ("fm[evaluations=2,lr=0.02]", "20"), ("fm[evaluations=2,lr=0.02]", "50"),
    ]  # fmt: skip
    for row in rows:
        values = numbers(store, row["variant"].split("[")[0], int(row["budget"]))
        assert (row["dataset"], row["protocol"], row["policy"]) == ("digits", "common@4", "last")
        assert (row["n"], row["failed"]) == ("2", "0")
        assert float(row["mean"]) == pytest.approx(np.mean(values), rel=1e-12)
        assert float(row["std"]) == pytest.approx(np.std(values, ddof=1), abs=1e-10)
        assert float(row["min"]) == pytest.approx(min(values))
        quantile = np.tan(0.475 * np.pi)  # of Student's t with one degree of freedom, which is Cauchy's distribution
        half = quantile * np.std(values, ddof=1) / np.sqrt(2)
        assert float(row["ci_high"]) - float(row["mean"]) == pytest.approx(half, abs=1e-9)


@pytest.mark.parametrize("metric", ["accuracy", "error", "errors"])
def test_metrics(metric: str, bench_cli: Cli, store: Store) -> None:
    rows = list(csv.DictReader(io.StringIO(bench_cli("table", "--format", "csv", "--metric", metric).out)))
    accuracy = np.mean(numbers(store, "fm", 20))
    expected = {"accuracy": accuracy, "error": 100 - accuracy, "errors": (100 - accuracy) * 5}[metric]
    (mean,) = (float(row["mean"]) for row in rows if row["variant"].startswith("fm") and row["budget"] == "20")
    assert mean == pytest.approx(expected)


def test_policies_filters_and_files(bench_cli: Cli, store: Store, tmp_path: Path) -> None:
    for policy in ("last", "mean-last-10", "oracle"):
        rows = list(csv.DictReader(io.StringIO(bench_cli("table", "--format", "csv", "--policy", policy).out)))
        assert {row["policy"] for row in rows} == {policy}
    text = bench_cli("table", "--variants", "supervised", "--format", "csv", "--dataset", "digits").out
    assert {row["variant"] for row in csv.DictReader(io.StringIO(text))} == {"supervised[evaluations=2]"}
    answer = bench_cli("table", "--format", "latex", "--output", "table.tex")
    assert answer.code == 0
    assert "\\begin{tabular}" in (tmp_path / "table.tex").read_text()
    assert "±" in bench_cli("table", str(store.folder.root)).out


@pytest.mark.parametrize("words", [["--variants", "fmm"], ["--dataset", "mnsit"], ["--output", "absent/table.md"]])
def test_table_refuses(words: list[str], bench_cli: Cli, store: Store) -> None:
    code, out, err = bench_cli("table", *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


# --- bench list ---


def first_words(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()]


def test_list_in_a_pipe_has_a_name_per_line(bench_cli: Cli) -> None:
    assert first_words(bench_cli("list", "variants").out) == registry.names()
    assert set(dataset_names()) <= set(first_words(bench_cli("list", "datasets").out))
    assert first_words(bench_cli("list", "suites").out) == suites.names()


def test_names_are_not_truncated(bench_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "a-name-that-is-much-longer-than-any-terminal-" * 5
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(registry, "_plugins", {long: registry.get("fm")})
    assert long in first_words(bench_cli("list", "variants").out)


def test_list_runs(bench_cli: Cli, store: Store) -> None:
    text = bench_cli("list", "runs").out
    assert first_words(text) == [record.id for record in store.records()]
    for record, line in zip(store.records(), text.splitlines(), strict=True):
        for part in ("done", "digits", record.run.label, f"{record.run.budget} labels", f"seed {record.run.seed}"):
            assert part in line
    assert bench_cli("list", "runs", str(store.folder.root)).out == text


# --- bench show ---


def test_show_tells_everything_about_a_run(bench_cli: Cli, store: Store) -> None:
    record = next(r for r in store.records() if r.run.variant == "fm")
    code, out, _ = bench_cli("show", record.id)
    assert code == 0
    wrong = record.curve.ema[-1]  # type: ignore[union-attr, index]
    assert f"{wrong} of 500 wrong" in out
    assert f"{100 - wrong / 5:.2f} %" in out
    assert json.loads(out[out.index("\n{") :]) == json.loads((store.folder.root / store.name(record.run)).read_text())


def test_the_beginning_of_an_id_is_enough(bench_cli: Cli, store: Store) -> None:
    ids = [record.id for record in store.records()]
    for run_id in ids:
        length = next(n for n in range(1, 17) if sum(other.startswith(run_id[:n]) for other in ids) == 1)
        assert f"run {run_id}:" in bench_cli("show", run_id[:length]).out
        assert bench_cli("show", "").code == 2
    code, _, err = bench_cli("show", ids[0][:-1] + ("0" if ids[0][-1] != "0" else "1"))
    assert code == 2
    assert ids[0] in err  # the nearest


def reproduce(bench_cli: Cli, run_id: str, *further: str) -> Any:
    (line,) = (line for line in bench_cli("show", run_id).out.splitlines() if line.startswith("reproduce: "))
    _, *words = shlex.split(line.removeprefix("reproduce: "))
    return bench_cli(*words, "--results", "again", *further)


def test_the_reproduce_command_makes_the_same_run_again(bench_cli: Cli, store: Store, tmp_path: Path) -> None:
    record = next(r for r in store.records() if r.run.variant == "fm" and r.run.seed == 1)
    assert reproduce(bench_cli, record.id).code == 0
    (again,) = Store(tmp_path / "again").records()
    assert again.content() == record.content()


@pytest.mark.parametrize(
    "words",
    [
        ["--label-selection", "random", "--validation", "30", "--unlabelled", "100"],
        ["--set", "supervised.classifier=[8, 4]", "--set", "supervised.evaluate_with=raw"],
        ["--set", "supervised.test_images=50", "--set", "supervised.steps=3"],
        ["--scale", "0.005"],
        ["--protocol", "smoke"],
        ["--protocol", "smoke", "--steps", "3"],
    ],
    ids=" ".join,
)
def test_the_reproduce_command_of_other_runs(words: list[str], bench_cli: Cli, tmp_path: Path) -> None:
    length = [] if {"--scale", "--protocol"} & set(words) or "supervised.steps=3" in words else ["--steps", "3"]
    code, _, err = bench_cli("run", "--variants", "supervised", "--labels", "20", "--seeds", "4-4", *length, *words)
    assert code == 0, err
    (record,) = Store(tmp_path / "results" / "runs").records()
    assert reproduce(bench_cli, record.id).code == 0
    (again,) = Store(tmp_path / "again").records()
    assert again.id == record.id
    assert again.content()["curve"] == record.content()["curve"]


def test_the_reproduce_command_names_a_precision(bench_cli: Cli, store: Store) -> None:
    record = next(iter(store.records()))
    named = record.model_copy(update={"run": record.run.model_copy(update={"precision": "bf16"})})
    assert "--precision" not in command(record)
    assert "--precision bf16" in command(named)


# --- help ---


@pytest.mark.parametrize("name", [c.name or c.callback.__name__ for c in app.registered_commands])  # type: ignore[union-attr]
def test_every_command_has_help_with_an_example(name: str, bench_cli: Cli) -> None:
    code, out, err = bench_cli(name, "--help")
    assert (code, err) == (0, "")
    assert f"Example:  bench {name}" in out


def test_help_of_the_whole(bench_cli: Cli) -> None:
    for words in ([], ["--help"]):
        code, out, _ = bench_cli(*words)
        assert code == 0
        for name in ("run", "table", "list", "show", "check-variant"):
            assert f"\n  {name} " in out


def test_bench_data_is_the_default_of_data(bench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "elsewhere" / "MNIST" / "raw" / "train-images-idx3-ubyte"
    bad.parent.mkdir(parents=True)
    bad.write_text("not MNIST")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "elsewhere"))
    assert f"{bad}: wrong checksum" in bench_cli("run", "--dataset", "mnist").err


def test_the_same_data_under_another_name_is_not_trained_again(bench_cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    labels = np.arange(60) % 3
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    options = ("--variants", "supervised", "--labels", "6", "--seeds", "1", "--steps", "3")
    assert bench_cli("run", "--dataset", "npz:one.npz", *options)[0] == 0
    code, out, _ = bench_cli("run", "--dataset", "npz:two.npz", *options)
    assert code == 0
    assert "1 of them already stored" in out
    assert len(list(tmp_path.rglob("npz-*/supervised/*.json"))) == 1


def test_a_failed_run_names_the_command_that_repeats_it(bench_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "unlucky.py").write_text(UNLUCKY)
    bench_cli(
        "run", "--plugin", "unlucky.py", "--variants", "unlucky", "--labels", "20", "--seeds", "1", "--steps", "2"
    )
    (stored,) = (tmp_path / "results").rglob("unlucky/*.json")
    _, out, _ = bench_cli("show", stored.stem)
    assert "--plugin unlucky.py" in out


def test_ablate_compares_each_technique_with_the_base(bench_cli: Any) -> None:
    words = ["ablate", "--variant", "fm", "--labels", "20,50", "--seeds", "1", "--protocol", "smoke", "--jobs", "1"]
    words += ["--only", "feature-matching,label-smoothing", "--add", "lr=0.01", "--results", "r"]
    answer = bench_cli(*words)
    assert answer.code == 0
    rows = [line.split("|")[1].strip() for line in answer.out.splitlines() if line.startswith("|")]
    assert rows[:1] + rows[2:] == ["change", "base", "- feature-matching", "+ label-smoothing", "lr=0.01"]
    assert "4 recipes, 8 runs, 0 of them already stored" in answer.out
    assert "4 recipes, 8 runs, 8 of them already stored" in bench_cli(*words).out
    refused = bench_cli("ablate", "--variant", "majority", "--results", "s")
    assert (refused.code, "names no techniques" in refused.err) == (2, True)
