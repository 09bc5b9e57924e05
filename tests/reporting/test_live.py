"""The display shows what the progress files say, as lines where there is no terminal and as bars where there is one."""

import io
from pathlib import Path

from rich.console import Console

from bench.execution import Cohort
from bench.grid import Run
from bench.reporting.live import Display
from bench.store import Store, append_progress


def _cohort(name: str, seeds: int) -> Cohort:
    runs = [
        Run(
            id=f"{seed:016x}", variant="fm", version=1, dataset="digits", dataset_hash="d", protocol="common",
            recipe={}, overrides={}, budget=20, selection="balanced", seed=seed, steps=100,
        )
        for seed in range(seeds)
    ]  # fmt: skip
    return Cohort(name, tuple(runs))


def _shown(tmp_path: Path, terminal: bool) -> str:
    store, text = Store(tmp_path), io.StringIO()
    first, second = _cohort("first", 3), _cohort("second", 1)
    append_progress(store.progress_path("first"), {"event": "finished", "runs": 3})  # of an earlier call: not ours
    with Display(store, [first, second], Console(file=text, force_terminal=terminal, width=140)):
        append_progress(store.progress_path("first"), {"event": "started", "runs": 3, "steps": 100})
        step = {"event": "step", "step": 50, "phase": "main", "accuracy": 87.654, "losses": {"generator/loss": 0.25}}
        append_progress(store.progress_path("first"), step)
        append_progress(store.progress_path("second"), {"event": "started", "runs": 1, "steps": 100})
        append_progress(store.progress_path("second"), {"event": "finished", "runs": 1, "failed": 1})
    return text.getvalue()


def test_without_a_terminal_there_are_plain_lines(tmp_path: Path) -> None:
    text = _shown(tmp_path, terminal=False)
    assert "\x1b" not in text
    assert "first: started: 3 runs of 100 steps" in text
    assert "second: finished: 1 runs, 1 of them failed or diverged" in text
    # 3 runs x 50 of 100 steps and 1 run x 100 of 100: 250 of 400 steps
    assert "[ 62.5%] second: finished" in text


def test_on_a_terminal_a_bar_and_a_line_per_running_cohort(tmp_path: Path) -> None:
    text = _shown(tmp_path, terminal=True)
    last = text.rsplit("all runs", 1)[1]
    assert "62.5%" in last
    assert "250/400" in last
    assert "fm x 3" in last
    assert "step 50/100 (main), accuracy 87.65 %, generator 0.250" in last
    assert "fm x 1" not in last
