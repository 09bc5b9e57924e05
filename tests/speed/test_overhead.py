"""The overhead of the harness: sums by hand, and every piece does what it is named after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.datasets import Dataset
from bench.execution import Cohort, DataSource, reports
from bench.execution.records import failure
from bench.execution.reports import Progress
from bench.execution.worker import Job, prepare
from bench.speed import overhead
from bench.speed.overhead import REPORT_EVERY, Costs, Subject, costs, section, subject, whole
from bench.speed.rounds import CPU, Effort, Spread
from bench.store import Store


@pytest.fixture
def tiny(digits: Dataset) -> Subject:
    return subject("digits", digits, "common", runs=2, steps=2)


def test_shares_by_hand() -> None:
    """90 steps of 0.1 s and 10 evaluations of 0.1 s are 10 s; questions 0.09 s; a report a second, a save a minute."""
    found = Costs(0.1, 0.1, 0.001, 0.02, 0.6, 0.5).shares(90, 10)
    assert list(found.values()) == pytest.approx([0.009, 0.02, 0.01, 0.05])


@pytest.mark.parametrize(("records", "word"), [(0.19, "met"), (0.22, "missed")])
def test_section(tiny: Subject, records: float, word: str) -> None:
    """One step of 10 s (all 40 evaluations cost nothing), two such steps, reports of 2 %: 20 s and 0.4 + 0.2 s."""
    text = section([(tiny, Costs(10.0, 0.0, 0.0, 0.02, 0.0, records))], tiny, Spread(1.01, 0.9, 1.2))
    row = next(line for line in text.splitlines() if "2 steps |" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    together = f"{0.02 + records / 20:.3%}"
    assert cells == [
        "digits, cohort of 2, 2 steps", "0.000%", "2.000%", "0.000%", f"{records / 20:.3%}", together, word,
    ]  # fmt: skip
    assert "a worker takes 1.01 (0.90 to 1.20) times the processor time" in text


def test_every_cost_is_measured(tiny: Subject) -> None:
    found = costs(tiny, repeats=1, steps=1)
    assert all(seconds > 0 for seconds in vars(found).values())


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What progress is told to say."""
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(Progress, "say", lambda self, event: events.append(event))
    return events


def test_workers_report_as_often_as_is_counted(
    tiny: Subject, said: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _ = prepare(tiny.runs, tiny.dataset, CPU)
    progress, now = Progress(Store(tmp_path), "speed"), 1000.0
    monkeypatch.setattr(reports.time, "monotonic", lambda: now)
    for wait, lines in ((0.0, 1), (0.99 * REPORT_EVERY, 1), (1.01 * REPORT_EVERY, 2)):
        now = 1000.0 + wait
        progress.step(trainer)
        assert len(said) == lines


def test_reports_are_lines_and_questions_are_none(tiny: Subject, said: list[dict[str, Any]], tmp_path: Path) -> None:
    trainer, _ = prepare(tiny.runs, tiny.dataset, CPU)
    trainer.step()
    overhead._reports(trainer, Store(tmp_path), repeats=3)
    assert [event["event"] for event in said] == ["step"] * 4


def test_pieces_leave_what_a_worker_leaves(tiny: Subject, tmp_path: Path) -> None:
    """A checkpoint and a record of each run; anew each time."""
    trainer, splits = prepare(tiny.runs, tiny.dataset, CPU)
    trainer.train()
    (tmp_path / "store").mkdir()
    store = Store(tmp_path / "store")
    save = overhead._saving(trainer, tiny.runs, store)
    for _ in range(2):
        save()
        assert [store.checkpoints.steps(run.id) for run in tiny.runs] == [[2], [2]]
        for run in tiny.runs:
            store.checkpoints.delete(run.id)
    record = overhead._recording(tiny, trainer, splits, tmp_path)
    for place in ("0", "1"):
        record()
        assert [Store(tmp_path / place).record(run).status for run in tiny.runs] == ["done", "done"]


def test_a_worker_beside_the_trainer_alone(tiny: Subject) -> None:
    found = whole(tiny, DataSource("digits", Path()), Effort(1, 0.0))
    assert 0 < found.low <= found.median <= found.high


def test_a_failed_worker_is_no_fast_one(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(runs: Cohort, job: Job) -> None:
        for run in runs.runs:
            Store(job.results).write(failure(run, job.origin(), "no luck"))

    monkeypatch.setattr(overhead, "work", fail)
    with pytest.raises(RuntimeError, match="no luck"):
        whole(tiny, DataSource("digits", Path()), Effort(1, 0.0))
