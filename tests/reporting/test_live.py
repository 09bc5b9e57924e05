"""The display shows what the progress files say, as lines where there is no terminal and as bars where there is one.

There it also shows the cells of the grid as they fill up.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bench.execution import Cohort
from bench.grid import Run
from bench.reporting.board import Board
from bench.reporting.live import Display
from bench.store import Curve, Record, Store


def _run(seed: int, variant: str = "fm", budget: int = 20, **changed: Any) -> Run:
    number = sum(map(ord, variant)) * 10**6 + budget * 100 + seed
    facts: dict[str, Any] = {
        "id": f"{number:016x}", "variant": variant, "version": 1, "dataset": "digits", "dataset_hash": "d",
        "protocol": "common", "recipe": {}, "overrides": {}, "budget": budget, "selection": "balanced", "seed": seed,
        "steps": 100,
    }  # fmt: skip
    return Run(**facts | changed)


def _cohort(name: str, seeds: int, variant: str = "fm") -> Cohort:
    return Cohort(name, tuple(_run(seed, variant) for seed in range(seeds)))


def _done(run: Run, wrong: int) -> Record:
    """Of 500 test images so many were wrong in the end, and more before."""
    curve = Curve(steps=[50, 100], seconds=[1.0, 2.0], raw=[450, wrong])
    return Record(run=run, status="done", test_images=500, curve=curve)


def _failed(run: Run, reason: str = "no luck") -> Record:
    return Record(run=run, status="failed", reason=reason)


def _lines(board: Board, lines: int, first: Sequence[str] = (), width: int = 120) -> list[str]:
    """What a terminal shows of it."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    shown = console.render_lines(board.view(lines, first))
    return ["".join(segment.text for segment in line).rstrip() for line in shown]


def _shown(tmp_path: Path, terminal: bool) -> str:
    store, text = Store(tmp_path), io.StringIO()
    first, second = _cohort("first", 3), _cohort("second", 1, "ct")
    store.journal("first").append({"event": "finished", "runs": 3})  # of an earlier call: not ours
    with Display(store, [first, second], Console(file=text, force_terminal=terminal, width=140)):
        store.journal("first").append({"event": "started", "runs": 3, "steps": 100})
        step = {"event": "step", "step": 50, "phase": "main", "accuracy": 87.654, "losses": {"generator/loss": 0.25}}
        store.journal("first").append(step)
        store.journal("second").append({"event": "started", "runs": 1, "steps": 100})
        store.write(_failed(second.runs[0]))
        store.journal("second").append({"event": "finished", "runs": 1, "failed": 1})
    return text.getvalue()


def test_without_a_terminal_there_are_plain_lines(tmp_path: Path) -> None:
    text = _shown(tmp_path, terminal=False)
    assert "\x1b" not in text
    assert "first: started: 3 runs of 100 steps" in text
    assert "second: finished: 1 runs, 1 of them failed or diverged" in text
    # 3 runs x 50 of 100 steps and 1 run x 100 of 100: 250 of 400 steps
    assert "[ 62.5%] second: finished" in text
    assert len(text.splitlines()) == 3


def test_on_a_terminal_a_bar_and_a_line_per_running_cohort(tmp_path: Path) -> None:
    text = _shown(tmp_path, terminal=True)
    last = text.rsplit("all runs", 1)[1]
    assert "62.5%" in last
    assert "250/400" in last
    assert "fm x 3" in last
    assert "step 50/100 (main), accuracy 87.65 %, generator 0.250" in last
    assert "ct x 1" not in last
    table = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last).splitlines()
    assert [line.split() for line in table if line.startswith(("fm ", "ct "))][1:] == [
        ["fm", "·", "(0/3)"],
        ["ct", "·", "(1/1,", "1", "failed)"],
    ]


def test_cells_fill_up_with_stored_and_finished_runs(tmp_path: Path) -> None:
    store, text, wrong = Store(tmp_path), io.StringIO(), [10, 25, 31]
    before, cohort = _run(7), _cohort("fm", 3)
    store.write(_done(before, wrong[2]))
    grid = [*cohort.runs, before, _run(0, budget=100)]
    with Display(store, [cohort], Console(file=text, force_terminal=True, width=100, height=30), grid):
        store.journal("fm").append({"event": "started", "runs": 3, "steps": 100})
        for run, errors in zip(cohort.runs, wrong[:2], strict=False):
            store.write(_done(run, errors))
        store.journal("fm").append({"event": "finished", "runs": 3})
    accuracy = 100 * (1 - np.array(wrong) / 500)
    expected = f"{accuracy.mean():.2f} ± {accuracy.std(ddof=1):.2f} (3/4)"
    last = text.getvalue().rsplit("all runs", 1)[1]
    assert expected == "95.60 ± 2.16 (3/4)"
    assert expected in last
    assert "· (0/1)" in last
    assert "digits, common" in last


def test_each_run_is_heard_of_once(tmp_path: Path) -> None:
    """Those of a killed worker, too; a failure of an earlier call only if the run fails again."""
    store, heard = Store(tmp_path), list[Record]()
    tried, killed, other = _cohort("tried", 3), _cohort("killed", 2, "ct"), _cohort("other", 1, "cat")
    for run in (tried.runs[0], tried.runs[1], other.runs[0]):
        store.write(_failed(run, "last year"))
    with Display(
        store, [tried, killed, other], Console(file=io.StringIO(), force_terminal=False), None, heard.extend
    ) as display:
        store.write(_failed(tried.runs[0], "again"))
        store.write(_done(tried.runs[2], 1))
        store.journal("tried").append({"event": "finished", "runs": 3})
        display._read()
        store.journal("tried").append({"event": "finished", "runs": 1})
        store.write(_done(killed.runs[1], 1))
    assert [record.id for record in heard] == [tried.runs[0].id, tried.runs[2].id, killed.runs[1].id]
    assert heard[0].reason == "again"


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    store, text, cohort = Store(tmp_path), io.StringIO(), _cohort("fm", 1)
    with Display(store, [cohort], Console(file=text, force_terminal=False, width=300)):
        path = store.folder.root / store.name(cohort.runs[0])
        path.parent.mkdir(parents=True)
        path.write_text("{")
        store.journal("fm").append({"event": "finished", "runs": 1})
    assert f"{path} is not valid JSON" in text.getvalue()


def test_names_are_text() -> None:
    names = ["[bold]x[/]", "<img src=x>", "50%"]
    board = Board([_run(0, name) for name in names], [])
    assert [line.split("  ")[0] for line in _lines(board, 20)[3:]] == names
    commanding = _run(0, overrides={"lr": "\x1b[2J"})
    assert "fm[lr=\\x1b[2J]" in _lines(Board([commanding], []), 20)[3]


def test_rows_that_do_not_fit() -> None:
    names = [f"variant{i}" for i in range(12)]
    board = Board([_run(0, name) for name in names], [])
    assert len(_lines(board, 15)) == 15
    shown = _lines(board, 9, ["variant1", "variant3"])
    assert len(shown) == 9
    assert [line.split()[0] for line in shown[3:-1]] == ["variant1", "variant3", "variant9", "variant10", "variant11"]
    assert shown[-1] == "and 7 more variants"
    assert len(_lines(board, 9, names)) == 9
    assert _lines(board, 3) == []
    assert len(_lines(board, 15, width=20)) == 15  # nothing wraps


def test_several_protocols_are_rows_of_their_own() -> None:
    board = Board([_run(0), _run(1, protocol="paper"), _run(2, protocol="paper", budget=50)], [])
    assert [line.split("  ")[0] for line in _lines(board, 20)[3:]] == ["fm, common", "fm, paper"]
    assert _lines(board, 20)[4].endswith("· (0/1)  · (0/1)")
