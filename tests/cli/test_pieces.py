"""`bench run` with a suite in pieces: their order, what is begun, what is left, how the next call goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from bench.cli.grids import grids, loaded
from bench.cli.pieces import Piece, Pieces
from bench.datasets import load
from bench.errors import UsageError
from bench.execution import DataSource
from bench.execution.pieces import MARGIN, START, Estimates, longest
from bench.execution.pools import Processes
from bench.execution.provenance import environment
from bench.execution.stopping import Orders
from bench.grid import Options, plan, suites
from bench.speed import Report, Wanted, has_report
from bench.speed.rounds import CPU
from bench.speed.sections import machine
from bench.store import Store

Cli = Callable[..., Any]
SUITE = """
layouts: [table2]
results: results/mine
pieces: true
steps: 4
seeds: 2
parts:
 - {variants: supervised, labels: 50}
 - {variants: fm, labels: 20}
 - {variants: supervised, labels: 20}
"""
FITTED = """
pieces: true
seeds: 1
set: [supervised.steps=100, supervised.evaluations=2]
parts:
 - {variants: supervised, labels: 20, scale: fit}
 - {variants: supervised, labels: 50, scale: fit}
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.yaml").write_text(SUITE)
    return "mine.yaml"


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], float]:
    """Seconds that pieces are estimated to take, by variant and budget; the first not named takes 1 s."""
    found: dict[tuple[str, int], float] = {}
    for name in ("__call__", "known"):
        monkeypatch.setattr(Estimates, name, lambda self, runs, *_: found.get((runs[0].variant, runs[0].budget), 1.0))
    return found


def trained(folder: Path) -> list[tuple[str, int]]:
    """Variants and budgets of the stored runs, in the order in which they were finished."""
    records = list(Store(folder).records())
    files = {record.id: Path(Store(folder).where(Store(folder).name(record.run))) for record in records}
    records.sort(key=lambda record: files[record.id].stat().st_mtime_ns)
    return list(dict.fromkeys((record.run.variant, record.run.budget) for record in records))


def of(out: str, word: str) -> list[str]:
    return [line.removeprefix(f"  {word}  ") for line in out.splitlines() if line.startswith(f"  {word}  ")]


def test_pieces_are_done_in_order_and_judged_one_by_one(mine: str, bench_cli: Cli, tmp_path: Path) -> None:
    code, out, err = bench_cli("run", "--suite", mine, "--jobs", "1")
    assert (code, err) == (0, "")
    assert trained(tmp_path / "results" / "mine") == [("supervised", 50), ("fm", 20), ("supervised", 20)]
    assert out.count("## Beside published numbers") == 3
    assert "3 of 3 pieces are done" in out
    assert of(out, "done") == [
        "supervised on digits, common@4: 50 labels, seeds 0 to 1",
        "fm on digits, common@4: 20 labels, seeds 0 to 1",
        "supervised on digits, common@4: 20 labels, seeds 0 to 1",
    ]
    assert "bench report results/mine" in out
    assert "To go on" not in out


def test_results_overrides_the_suites_folder(mine: str, bench_cli: Cli, tmp_path: Path) -> None:
    assert bench_cli("run", "--suite", mine, "--jobs", "1", "--results", "other", "--labels", "20").code == 0
    assert (tmp_path / "other").is_dir()
    assert not (tmp_path / "results").exists()


def test_what_does_not_fit_is_left_to_the_next_call(
    mine: str, bench_cli: Cli, tmp_path: Path, costs: dict[Any, float]
) -> None:
    words = ("run", "--suite", mine, "--jobs", "1", "--time-limit", "100s")
    costs["fm", 20] = 99.999  # fits into a call in which nothing else has been done, and no instant later
    costs["supervised", 50] = 1.0
    code, out, _ = bench_cli(*words)
    assert code == 3
    assert trained(tmp_path / "results" / "mine") == [("supervised", 50)]
    assert of(out, "left") == [
        "fm on digits, common@4: 20 labels, seeds 0 to 1; about 2 min",
        "supervised on digits, common@4: 20 labels, seeds 0 to 1; about 1 s",
    ]
    assert "To go on:\n  bench run --suite mine.yaml --jobs 1 --time-limit 100s\n" in out
    costs["fm", 20] = 50.0
    code, out, _ = bench_cli(*words)
    assert code == 0
    assert "3 of 3 pieces are done" in out
    assert trained(tmp_path / "results" / "mine") == [("supervised", 50), ("fm", 20), ("supervised", 20)]


def test_what_fits_into_no_call_is_said_and_holds_nothing_up(
    mine: str, bench_cli: Cli, tmp_path: Path, costs: dict[Any, float]
) -> None:
    costs["supervised", 50] = 7200.0
    code, out, _ = bench_cli("run", "--suite", mine, "--jobs", "1", "--time-limit", "100s")
    assert code == 3
    assert trained(tmp_path / "results" / "mine") == [("fm", 20), ("supervised", 20)]
    (left,) = of(out, "left")
    assert left.endswith("50 labels, seeds 0 to 1; about 2.0 h, longer than a call: raise --time-limit")
    again = bench_cli("run", "--suite", mine, "--jobs", "1", "--time-limit", "100s")
    assert again.code == 2  # a loop around it must end
    assert "Nothing of it could be begun in a call of this length: raise --time-limit." in again.out
    assert "To go on" not in again.out
    assert of(again.out, "left") == [left]


def test_a_call_that_only_measures_is_too_short(
    mine: str, bench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: Any, *_: Any) -> float:
        monkeypatch.setattr("bench.execution.stopping.Orders.overdue", lambda self: True)
        return 7200.0

    monkeypatch.setattr(Estimates, "__call__", slow)
    code, out, _ = bench_cli("run", "--suite", mine, "--jobs", "1", "--time-limit", "100s")
    assert code == 2
    assert len(of(out, "left")) == 3


def test_what_was_not_measured_is_not_measured_in_the_end(
    mine: str, bench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def seconds(self: Any, runs: Any, *_: Any) -> float:
        asked.append(runs[0].variant)
        return 1.0 if len(asked) == 1 else 99.999

    monkeypatch.setattr(Estimates, "__call__", seconds)
    answer = bench_cli("run", "--suite", mine, "--jobs", "1", "--time-limit", "100s")
    assert answer.code == 3
    assert asked == ["supervised", "fm"]
    assert of(answer.out, "left")[-1] == "supervised on digits, common@4: 20 labels, seeds 0 to 1"


def test_a_piece_that_cannot_be_measured_holds_nothing_up(
    mine: str, bench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(self: Any, runs: Any, *_: Any) -> float:
        if runs[0].variant == "fm":
            raise UsageError("variant 'fm' fails: no luck today")
        return 1.0

    monkeypatch.setattr(Estimates, "__call__", seconds)
    code, out, _ = bench_cli("run", "--suite", mine, "--jobs", "1", "--time-limit", "100s")
    assert code == 1
    assert len(of(out, "done")) == 2
    assert of(out, "left") == ["fm on digits, common@4: 20 labels, seeds 0 to 1; variant 'fm' fails: no luck today"]


def test_tables_and_verdicts_go_into_a_file(mine: str, bench_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / mine).write_text(SUITE + "report: reports/mine.md\n")
    assert bench_cli("run", "--suite", mine, "--jobs", "1").code == 0
    text = (tmp_path / "reports" / "mine.md").read_text()
    assert text.count("## Beside published numbers") == 1
    assert "table2" in text.lower()


def test_a_report_that_cannot_be_written_is_no_traceback(mine: str, bench_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / mine).write_text(SUITE + "report: reports/mine.md\n")
    (tmp_path / "reports").write_text("in the way")
    code, _, err = bench_cli("run", "--suite", mine, "--jobs", "1")
    assert code == 2
    assert "'reports/mine.md', which the suite names, cannot be written" in err


def test_a_piece_that_was_interrupted_goes_on_whatever_it_will_take(
    mine: str, bench_cli: Cli, tmp_path: Path, costs: dict[Any, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bench.execution.stopping.Orders.overdue", lambda self: _checkpoints(tmp_path) > 0)
        patch.setattr("bench.execution.stopping.PATIENCE", 0.0)
        words = (
            "run", "--suite", mine, "--steps", "8", "--jobs", "1", "--checkpoint-every", "0", "--time-limit", "100s",
        )  # fmt: skip
        code, out, _ = bench_cli(*words)
    assert code == 3
    assert "Time limit reached" in out
    assert of(out, "done") == []
    assert len(of(out, "left")) == 3
    costs["supervised", 50] = 7200.0
    code, out, _ = bench_cli(*words)
    assert code == 0
    assert len(of(out, "done")) == 3


def _checkpoints(folder: Path) -> int:
    return len(list(folder.rglob("*.ckpt")))


def test_failed_runs_are_left(mine: str, bench_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("no luck today")

    with monkeypatch.context() as patch:
        patch.setattr("bench.execution.worker.prepare", fails)
        code, out, _ = bench_cli("run", "--suite", mine, "--jobs", "1")
    assert code == 1
    assert "6 runs failed" in out
    assert bench_cli("run", "--suite", mine, "--jobs", "1").code == 0


# --- the longest schedule that fits ---


def fitting(bench_cli: Cli, *more: str) -> Any:
    return bench_cli("run", "--suite", "fitted.yaml", "--jobs", "1", *more)


def lengths(folder: Path) -> list[tuple[int, str, int]]:
    runs = [record.run for record in Store(folder / "results" / "runs").records()]
    return sorted((run.budget, run.protocol, run.steps) for run in runs)


def test_the_length_that_fits_is_chosen_once_for_all_budgets_and_calls(
    bench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fitted.yaml").write_text(FITTED)
    monkeypatch.setattr(Estimates, "__call__", lambda self, runs, *_: 10.0 * runs[0].steps)
    code, out, _ = fitting(bench_cli, "--time-limit", "400s")  # 0.7 of it are 280 s: 20 of 100 steps
    assert code == 0, out
    assert lengths(tmp_path) == [(20, "common@0.2", 20), (50, "common@0.2", 20)]
    monkeypatch.setattr(Estimates, "__call__", lambda self, runs, *_: 1.0 * runs[0].steps)
    assert fitting(bench_cli, "--time-limit", "400s").code == 0  # all would fit now, but runs of a fifth are there
    assert len(lengths(tmp_path)) == 2


def test_the_part_with_the_most_steps_decides_for_all(tmp_path: Path) -> None:
    """Triple-GAN's paper trains longer with more labels."""
    fits = [{"variants": "triple", "labels": n, "scale": "fit"} for n in (20, 100, 200)]
    suite = suites.parse({"pieces": True, "seeds": 1, "protocol": "paper", "parts": fits}, "mine")
    asked = grids(suite, {}, None, tmp_path)
    pieces = [Piece(grid, *own, grid.fit) for grid, own in zip(asked, loaded(asked), strict=True)]
    measured: list[int] = []

    def seconds(runs: Any, *_: Any) -> float:
        measured.append(runs[0].budget)
        return runs[0].steps / 20.0

    whole: Any = Pieces(suite, pieces, Store(tmp_path), cast(Any, seconds), Orders(deadline=time.time() + 400), fail)
    whole._choose_length(pieces[0])
    assert set(measured) == {100}
    assert pieces[0].runs[0].protocol == "paper@0.2"


def fail(*_: Any) -> None:
    raise AssertionError("nothing is to be trained")


def test_a_length_that_is_still_open_is_said(bench_cli: Cli, tmp_path: Path, costs: dict[Any, float]) -> None:
    parts = "{variants: supervised, steps: 4}, {variants: fm, steps: 4}, {variants: fm, scale: fit, labels: 50}"
    (tmp_path / "fitted.yaml").write_text(f"pieces: true\nseeds: 2\nlabels: 20\nparts: [{parts}]")
    costs["fm", 20] = 99.999
    code, out, _ = fitting(bench_cli, "--time-limit", "100s")
    assert code == 3
    assert of(out, "left")[-1] == (
        "fm on digits, common: 50 labels, seeds 0 to 1; about 70 s at most, at the longest schedule that fits"
    )


def test_without_a_limit_every_schedule_fits(bench_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "fitted.yaml").write_text(FITTED)
    assert fitting(bench_cli).code == 0
    assert lengths(tmp_path) == [(20, "common", 100), (50, "common", 100)]


@pytest.mark.parametrize(
    ("limit", "expected"), [(2000, 1.0), (1540, 1.0), (1500, 0.5), (500, 0.2), (40, 0.01), (5, 0.01)]
)
def test_longest(limit: float, expected: float) -> None:
    asked: list[float] = []

    def seconds(scale: float) -> float:
        asked.append(scale)
        return 20.0 + 1058.0 * scale

    assert longest(seconds, limit) == expected
    assert len(asked) == 2


def test_an_estimate_is_of_what_is_missing_on_the_worker_that_is_busy_longest(
    bench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def cost(cohorts: Any, *_: Any) -> Any:
        measured.append(cohorts[0].runs[0].budget)
        return SimpleNamespace(kinds=[SimpleNamespace(seconds=100.0)])

    monkeypatch.setattr("bench.execution.pieces.estimate", cost)
    digits = load("digits", tmp_path)
    runs = plan(Options(variants="supervised", labels="20,50", seeds="3", protocol="smoke"), digits)
    (tmp_path / "store").mkdir()
    estimates = Estimates(Store(tmp_path / "store"), Processes(torch.device("cpu"), 2), 1, lambda source: None)
    source = DataSource("digits", tmp_path)
    assert estimates(runs[:3], digits, source) == START + 2 * MARGIN * 100.0  # three cohorts, two workers
    assert estimates(runs[3:], digits, source) == START + 2 * MARGIN * 100.0
    assert measured == [20]
    assert estimates([], digits, source) == 0.0


# --- bench speed ---


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, mine: str, tmp_path: Path) -> list[bool]:
    """The suite has a report; for every one that is made, whether it is the quick one."""
    (tmp_path / mine).write_text(SUITE + "speed: reports/speed.md\n")
    quick: list[bool] = []

    def report(wanted: Wanted, say: Callable[[str], None]) -> Report:
        assert not list((tmp_path / "results" / "mine").rglob("*.json"))  # it comes first
        quick.append(wanted.quick)
        return Report(machine("a CPU") + "\nfast enough\n")

    monkeypatch.setattr("bench.speed.report", report)
    return quick


@pytest.mark.parametrize(("limit", "quick"), [((), False), (("--time-limit", "200s"), True)])
def test_the_report_comes_first_and_is_made_once(
    limit: tuple[str, ...], quick: bool, made: list[bool], mine: str, bench_cli: Cli, tmp_path: Path, costs: Any
) -> None:
    for _ in range(2):
        code, out, _ = bench_cli("run", "--suite", mine, "--jobs", "1", *limit)
        assert (code, made) == (0, [quick])
        assert of(out, "done")[0] == "bench speed: reports/speed.md"
        assert "4 of 4 pieces are done" in out
    assert "fast enough" in (tmp_path / "reports" / "speed.md").read_text()


def test_a_report_of_other_code_or_another_machine_is_made_anew(
    made: list[bool], mine: str, bench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", "--suite", mine, "--jobs", "1", "--dry-run")
    path = tmp_path / "reports" / "speed.md"
    text = machine("a CPU") + "\nfast enough\n"
    assert has_report(text, CPU)
    assert not has_report("# Speed of training on another machine\n", CPU)
    with monkeypatch.context() as patch:
        patch.setitem(environment(), "source", "0" * 16)
        assert not has_report(text, CPU)
    monkeypatch.setattr("bench.execution.dry_run.describe_grid", lambda *_: ("", None))
    assert bench_cli(*words).code == 0
    assert made == []  # a dry run writes nothing
    path.parent.mkdir()
    path.write_text("# Speed of training on another machine\n")
    assert bench_cli("run", "--suite", mine, "--jobs", "1").code == 0
    assert made == [False]
    assert has_report(path.read_text(), CPU)
    assert path.read_text().startswith("# Speed of training on another machine\n\n# Speed of training on a CPU\n")


def test_no_report_is_begun_that_cannot_finish(made: list[bool], mine: str, bench_cli: Cli, costs: Any) -> None:
    code, out, _ = bench_cli("run", "--suite", mine, "--jobs", "1", "--time-limit", "60s")
    assert (code, made) == (3, [])
    assert of(out, "left") == ["bench speed: reports/speed.md"]
    assert len(of(out, "done")) == 3


def test_smoke_runs_are_no_pieces_and_belong_to_no_reference(
    made: list[bool], mine: str, bench_cli: Cli, tmp_path: Path
) -> None:
    assert bench_cli("run", "--suite", mine, "--jobs", "1", "--protocol", "smoke", "--labels", "20").code == 0
    assert made == []
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["runs"]
