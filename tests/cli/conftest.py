"""The command line in this process: `main()` with patched arguments, in an empty folder, training without workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from bench import registry
from bench.cli import main
from bench.execution import Cohort
from bench.execution.worker import Job, work


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def in_this_process(cohorts: Sequence[Cohort], job: Job, jobs: int) -> None:
    for cohort in cohorts:
        work(cohort, job)


@pytest.fixture
def bench_cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """`bench_cli("run", "--labels", "20")`: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_plugins", {})
    monkeypatch.setattr("bench.execution.launch", in_this_process)

    def call(*words: str) -> Answer:
        monkeypatch.setattr("sys.argv", ["bench", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Answer(stop.value.code, out, err)

    return call
