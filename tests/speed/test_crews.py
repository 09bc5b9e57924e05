"""Several processes on one device, with stand-ins for what they train."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.speed import crews
from bench.speed.crews import Crew, at_work, rates, section
from bench.speed.rounds import CPU
from bench.speed.subjects import stepping

STEPS = """
import os
from pathlib import Path
import torch

def noting(subject, runs, device):
    def step():
        with Path(subject).open("a") as file:
            file.write(f"{os.getpid()} {runs} {torch.get_num_threads()}\\n")
    return step

def breaking(subject, runs, device):
    Path(subject).touch()
    raise torch.OutOfMemoryError
"""


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that other processes find, too. Every step of `noting` adds a line to the file `subject`."""
    (tmp_path / "steps_of_crews.py").write_text(STEPS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("steps_of_crews")
    del sys.modules["steps_of_crews"]


def test_every_process_takes_all_steps(steps: Any, tmp_path: Path) -> None:
    """The first is not counted."""
    with at_work(Crew(str(tmp_path / "log"), 2, 3), steps.noting, CPU) as ask:
        ask(4)
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    processes = {pid: [line for line in lines if line[0] == pid] for pid, *_ in lines}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes
    assert all(own == [[pid, "3", "1"]] * 5 for pid, own in processes.items())


def test_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 10 ms in either crew, and trains as many runs. Crews take turns, every second time backwards."""
    asked: list[tuple[int, int]] = []

    @contextmanager
    def at_work(crew: Crew, *others: Any) -> Iterator[Callable[[int], None]]:
        def ask(steps: int) -> None:
            asked.append((crew.processes, steps))
            time.sleep(0.01 * steps)

        yield ask

    monkeypatch.setattr(crews, "at_work", at_work)
    monkeypatch.setattr(crews, "SECONDS", 0.05)
    wanted = [Crew("x", 1, 2), Crew("x", 2, 1)]
    found = rates(wanted, stepping, 2, CPU)
    assert list(found) == wanted
    assert all(len(own) == 2 and 0 < rate <= 200 for own in found.values() for rate in own)
    assert [processes for processes, _ in asked] == [1, 2, 1, 2, 2, 1]
    assert [steps for _, steps in asked[:2]] == [1, 1]
    assert all(1 <= steps <= 5 for _, steps in asked[2:])


def test_a_process_that_breaks_down_is_no_throughput(steps: Any, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with pytest.raises(RuntimeError, match="broke down"), at_work(Crew(str(begun), 1, 1), steps.breaking, CPU):
        pass
    assert begun.exists()


def test_the_same_runs_in_every_crew() -> None:
    assert crews.crews("x", 30, CPU) == [Crew("x", 1, 30, threads=2), Crew("x", 2, 15, threads=1)]
    assert crews.crews("x", 40, torch.device("cuda")) == [Crew("x", 1, 40), Crew("x", 2, 20), Crew("x", 4, 10)]


def test_rows() -> None:
    text = section({"a": {Crew("x", 1, 30, 2): [10.0, 20.0], Crew("x", 2, 15): [20.0, 30.0]}}, {"b": "no memory"})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    assert rows[1:] == [
        ["a", "1 x 30", "2", "15.0 (10.0 to 20.0)", "1.00 (1.00 to 1.00)"],
        ["a", "2 x 15", "1", "25.0 (20.0 to 30.0)", "1.75 (1.50 to 2.00)"],
    ]
    assert "- b is left out: no memory." in text
