"""A suite in pieces: in order, each only where it can finish within this call, judged as soon as it is there."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench.cli.app import DEFAULT_RESULTS, FAILURE, INCOMPLETE, INTERRUPTED, USAGE, out
from bench.errors import UsageError, printable, shorten

if TYPE_CHECKING:
    from bench.cli.grids import Grid
    from bench.datasets import Dataset
    from bench.execution import DataSource
    from bench.execution.pieces import Estimates
    from bench.execution.stopping import Orders
    from bench.grid import Run
    from bench.grid.suites import Suite
    from bench.store import Store

Train = Callable[["DataSource", "Dataset", "list[Run]"], None]
SPEED_SECONDS = 120.0  # that the report of `bench speed` may take


@dataclass
class Piece:
    """A part of the suite.

    Attributes:
        open: whether its length is still to be chosen.
        note: why it was left.
        broken: whether it cannot be measured, and so not be trained.
    """

    grid: Grid
    source: DataSource
    dataset: Dataset
    runs: list[Run]
    open: bool
    note: str = ""
    broken: bool = False

    def __str__(self) -> str:
        labels = ", ".join(dict.fromkeys(run.label for run in self.runs))
        budgets = ", ".join(dict.fromkeys(str(run.budget) for run in self.runs))
        seeds = sorted({run.seed for run in self.runs})
        protocol = self.grid.options.protocol if self.open else self.runs[0].protocol
        return f"{labels} on {self.dataset.name}, {protocol}: {budgets} labels, seeds {seeds[0]} to {seeds[-1]}"

    def at(self, scale: float) -> list[Run]:
        """Its runs at a length of its schedule."""
        return replace(self.grid, options=replace(self.grid.options, scale=scale)).load(self.dataset)[2]


class Pieces:
    """The pieces of a suite in one call.

    Attributes:
        used: datasets, labels and protocols of which there are runs.
        fresh: whether nothing has been done in this call: what does not fit now never will.
    """

    def __init__(
        self, suite: Suite, pieces: Sequence[Piece], store: Store, estimates: Estimates, orders: Orders, train: Train
    ) -> None:
        from bench.grid.stale import is_stale

        self.suite, self.pieces, self.store, self.orders, self.train = suite, pieces, store, orders, train
        self.estimates, self.began, self.fresh = estimates, time.time(), True
        known = [record.run for record in store.records()] if store.folder.exists() else []
        known += [head.run for head in store.checkpoints.heads()]
        self.used = {(run.dataset_hash, run.label, run.protocol) for run in known if not is_stale(run)}
        for piece in pieces:
            self._take_up_length(piece)

    def do(self) -> int:
        """Does what fits, says what is left; the exit code."""
        code = 0
        try:
            if self._measure_speed():
                for piece in self.pieces:
                    if self.orders.given() or not self._attempt(piece):
                        break
        except typer.Exit as stopped:  # in the middle of a piece, which goes on from its checkpoints
            code = stopped.exit_code
        if not code and self.orders.given() and not self.orders.overdue():
            code = INTERRUPTED
        return self._tell(code)

    # --- one piece ---

    def _attempt(self, piece: Piece) -> bool:
        """Trains a piece, if it is to be trained now; whether to look at the next one."""
        try:
            self._choose_length(piece)
            if self._done(piece):
                return True
            if not self._begun(piece) and not self._time_for(seconds := self._seconds(piece)):
                piece.note = self._too_long(seconds)
                return self.fresh
        except UsageError as error:  # its variant cannot take a step: that is no reason to leave the others
            piece.note, piece.broken = printable(str(error)), True
            return True
        self.fresh = False
        self.used |= {(run.dataset_hash, run.label, run.protocol) for run in piece.runs}
        out.print(f"\n{piece}", markup=False)
        self.train(piece.source, piece.dataset, piece.runs)
        self._judge(piece)
        return True

    def _take_up_length(self, piece: Piece) -> None:
        """A length of which there are runs, if there are any: all calls and all budgets have the same."""
        from bench.execution.pieces import SCALES

        if piece.open and (scale := next((s for s in SCALES if self._is_used(piece, s)), None)) is not None:
            piece.runs, piece.open = piece.at(scale), False

    def _choose_length(self, piece: Piece) -> None:
        """The longest that fits into a call: that of the same methods' piece with the most steps decides for all."""
        from bench.execution.pieces import longest

        self._take_up_length(piece)
        if not piece.open:
            return
        scale = 1.0
        if self.orders.deadline is not None:
            alike = [own for own in self.pieces if own.open and _subject(own) == _subject(piece)]
            long = max(alike, key=lambda own: own.runs[0].steps)
            scale = longest(
                lambda s: self.estimates(long.at(s), long.dataset, long.source), self.orders.deadline - self.began
            )
        piece.runs, piece.open = piece.at(scale), False

    def _is_used(self, piece: Piece, scale: float) -> bool:
        from bench.grid.plan import schedule_label

        protocol = schedule_label(replace(piece.grid.options, scale=scale))
        return any((run.dataset_hash, run.label, protocol) in self.used for run in piece.runs)

    def _done(self, piece: Piece) -> bool:
        return not piece.open and all(found.settled for found in self.store.standings(piece.runs).values())

    def _begun(self, piece: Piece) -> bool:
        """Whether runs of it have checkpoints, which would be lost if it waited."""
        own = {run.id for run in piece.runs}
        return any(head.run.id in own for head in self.store.checkpoints.heads())

    def _seconds(self, piece: Piece) -> float:
        """That it will take; nothing is measured where there is no limit."""
        return 0.0 if self.orders.deadline is None else self.estimates(piece.runs, piece.dataset, piece.source)

    def _time_for(self, seconds: float) -> bool:
        return self.orders.deadline is None or seconds <= self.orders.deadline - time.time()

    def _too_long(self, seconds: float) -> str:
        from bench.execution.dry_run import duration

        return f"about {duration(seconds)}" + (", longer than a call: raise --time-limit" if self.fresh else "")

    def _judge(self, piece: Piece) -> None:
        """The suite's tables with what is there, and the piece's cells beside published numbers; the suite's report."""
        from bench.reporting.judging import judged

        runs = list({run.id: run for other in self.pieces if not other.open for run in other.runs}.values())
        out.print("\n" + judged(self.store, runs, self.suite.layouts, {run.id for run in piece.runs}), markup=False)
        if self.suite.report is not None:
            with _writing(self.suite.report):
                self.suite.report.parent.mkdir(parents=True, exist_ok=True)
                self.suite.report.write_text(judged(self.store, runs, self.suite.layouts), encoding="utf-8")

    # --- bench speed ---

    def _measure_speed(self) -> bool:
        """Makes the suite's report of `bench speed` where there is none of this device and code; whether to go on.

        On a CPU, where the whole takes longer than most calls, a time limit makes it the quick one.
        """
        from bench.execution.worker import release_memory
        from bench.speed import Wanted, report
        from bench.speed.file import keep

        if self.suite.speed is None or self._speed_done():
            return True
        if not self._time_for(SPEED_SECONDS):
            return self.fresh
        self.fresh = False
        wanted = Wanted(self.orders.deadline is not None, None, self.estimates.pool.device)
        with _writing(self.suite.speed):
            self.suite.speed.parent.mkdir(parents=True, exist_ok=True)
            self.suite.speed.touch()  # before, not after, minutes of measuring
        text = report(wanted, lambda section: out.print(section, markup=False)).text
        release_memory()
        with _writing(self.suite.speed):
            keep(self.suite.speed, text)
        return True

    def _speed_done(self) -> bool:
        from bench.speed import has_report

        path = self.suite.speed
        return path is None or (
            path.is_file() and has_report(path.read_text("utf-8", "replace"), self.estimates.pool.device)
        )

    # --- the end ---

    def _tell(self, code: int) -> int:
        """What is done, what is left and how to go on."""
        done = [self._done(piece) for piece in self.pieces]
        failed = self._failed()
        if self.suite.speed is not None:
            done = [self._speed_done(), *done]
            lines = [f"bench speed: {self.suite.speed}", *map(self._line, self.pieces)]
        else:
            lines = [self._line(piece) for piece in self.pieces]
        out.print(f"\n{sum(done)} of {len(done)} pieces are done:", markup=False)
        for line, there in zip(lines, done, strict=True):
            out.print(f"  {'done' if there else 'left'}  {line}", markup=False)
        if failed:
            out.print(f"{failed} runs failed; the same command tries them again.", markup=False)
        code = code or self._code(done, failed)
        if code == USAGE:
            out.print("Nothing of it could be begun in a call of this length: raise --time-limit.")
        elif not all(done):
            out.print("To go on:\n  " + shlex.join(["bench", *sys.argv[1:]]), markup=False)
        where = "" if self.store.folder.shown == DEFAULT_RESULTS else f" {shlex.quote(self.store.folder.shown)}"
        out.print(f"Tables, figures, comparisons and a page of what is there:\n  bench report{where}", markup=False)
        return code

    def _code(self, done: Sequence[bool], failed: int) -> int:
        if failed or any(piece.broken for piece in self.pieces):
            return FAILURE
        if all(done):
            return 0
        return USAGE if self.fresh else INCOMPLETE  # nothing was begun: the same call would never do more

    def _failed(self) -> int:
        runs = [run for piece in self.pieces if not piece.open for run in piece.runs]
        return sum(found.status == "failed" for found in self.store.standings(runs).values())

    def _line(self, piece: Piece) -> str:
        """A piece, and how long it will take if that can still be found out."""
        from bench.execution.dry_run import duration
        from bench.execution.pieces import SHARE

        if piece.note:
            return f"{piece}; {piece.note}"
        if self._done(piece) or self.orders.deadline is None:
            return str(piece)
        if piece.open:
            most = duration(SHARE * (self.orders.deadline - self.began))
            return f"{piece}; about {most} at most, at the longest schedule that fits"
        seconds = self.estimates.known(piece.runs, piece.dataset)
        return str(piece) if seconds is None else f"{piece}; about {duration(seconds)}"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{shorten(path)!r}, which the suite names, cannot be written: {error.strerror}.") from error


def _subject(piece: Piece) -> tuple[str, tuple[str, ...]]:
    """What it is about, but for the labels and the seeds."""
    return piece.dataset.content_hash, tuple(dict.fromkeys(run.label for run in piece.runs))
