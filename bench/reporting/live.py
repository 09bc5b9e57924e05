"""What the workers are doing, read from the store while they do it.

On a terminal: bars, and a table of cells that fill up. Elsewhere: lines of log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from bench.errors import UsageError, printable
from bench.execution import Cohort
from bench.execution.rounds import unsettled
from bench.grid import Run
from bench.reporting.board import Board
from bench.store import Record, Store

Hear = Callable[[Sequence[Record]], None]

REFRESH = 0.5  # seconds
RETURNED = ("finished", "stopped")  # last events of a cohort that is not in training any more
LOG_EVERY = 15.0  # seconds between two lines of log about all running cohorts


class Display:
    """Use as a context manager around `launch`; a thread of its own reads the progress files."""

    def __init__(
        self,
        store: Store,
        cohorts: Sequence[Cohort],
        console: Console,
        runs: Sequence[Run] | None = None,
        hear: Hear = lambda records: None,
    ) -> None:
        """
        Args:
            runs: the whole grid, those that are stored already included; None: the runs of the cohorts.
            hear: is given the records of runs that are over, each once, soon after it is stored.
        """
        self.store, self.console, self.hear = store, console, hear
        training = [run for cohort in cohorts for run in cohort.runs]
        self.before, self.heard = store.standings(training), set[str]()
        grid = training if runs is None else runs
        standings = store.standings(grid)
        stored = [run for run in grid if standings[run.id].settled]
        self.board = Board(grid, store.records(stored)) if console.is_terminal else None
        self.cohorts = {cohort.name: cohort for cohort in cohorts}
        self.journals = {name: store.journal(name) for name in self.cohorts}
        self.read_to = {name: journal.read()[1] for name, journal in self.journals.items()}
        self.state: dict[str, dict[str, Any]] = {}  # cohort -> its latest events, merged
        self.steps = sum(len(c.runs) * c.runs[0].steps for c in cohorts)
        self.bar = Progress(
            TextColumn("[bold]all runs"), BarColumn(bar_width=None), TextColumn("{task.percentage:>5.1f}%"),
            MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self.task = self.bar.add_task("all", total=self.steps)
        self.live = Live(self._view(), console=console, refresh_per_second=4) if console.is_terminal else None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.logged = time.monotonic()

    def __enter__(self) -> Display:
        if self.live:
            self.live.start()
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self.thread.join()
        self._read()
        for name in self.cohorts:  # of a worker that was killed no event tells
            self._settle(name)
        if self.live:
            self.live.update(self._view(), refresh=True)
            self.live.stop()

    def _watch(self) -> None:
        pace = max([REFRESH, *(journal.heartbeat / 3 for journal in self.journals.values())])
        while not self.stop.wait(pace):
            self._read()
            if self.live:
                self.live.update(self._view())
            elif time.monotonic() - self.logged > LOG_EVERY:
                self.logged = time.monotonic()
                for name in self._running():
                    self._log(name, self._status(name))

    def _read(self) -> None:
        for name in self.cohorts:
            events, self.read_to[name] = self.journals[name].read(self.read_to[name])
            for event in events:
                self._apply(name, event)
        self.bar.update(self.task, completed=sum(self._done(name) for name in self.state))

    def _apply(self, name: str, event: dict[str, Any]) -> None:
        if event.get("event") == "warning":
            self.console.print(printable(f"{name}: {event.get('text')}"), markup=False, highlight=False, soft_wrap=True)
            return
        previous = {} if event.get("event") == "started" else self.state.get(name, {})
        self.state[name] = {**previous, **event}
        if event.get("event") in RETURNED:
            self._settle(name)
        if self.live is None and event.get("event") == "started":
            self._log(name, f"started: {event['runs']} runs of {event['steps']} steps")
        if self.live is None and event.get("event") == "finished":
            self._log(name, f"finished: {event['runs']} runs, {event.get('failed', 0)} of them failed or diverged")

    def _settle(self, name: str) -> None:
        """Reads the records of those runs of a cohort that are over."""
        runs = [run for run in self.cohorts[name].runs if run.id not in self.heard]
        try:
            left = {run.id for run in unsettled(runs, self.store, self.before)}
            records = list(self.store.records([run for run in runs if run.id not in left]))
        except (UsageError, OSError) as error:  # the display goes on; whoever reads the results will say it again
            self.console.print(printable(f"{name}: {error}"), markup=False, highlight=False, soft_wrap=True)
            return
        self.heard |= {record.id for record in records}
        if self.board:
            self.board.add(records)
        if records:
            self.hear(records)

    def _log(self, name: str, text: str) -> None:
        share = 100 * sum(self._done(n) for n in self.state) / max(self.steps, 1)
        self.console.print(f"[{share:5.1f}%] {name}: {text}", markup=False, highlight=False, soft_wrap=True)

    def _done(self, name: str) -> int:
        cohort, state = self.cohorts[name], self.state[name]
        steps = cohort.runs[0].steps if state.get("event") == "finished" else state.get("step", 0)
        return steps * len(cohort.runs)

    def _running(self) -> list[str]:
        return [name for name, state in self.state.items() if state.get("event") not in RETURNED]

    def _status(self, name: str) -> str:
        state, cohort = self.state[name], self.cohorts[name]
        text = f"step {state.get('step', 0)}/{cohort.runs[0].steps}"
        if state.get("phase"):
            text += f" ({state['phase']})"
        if "accuracy" in state:
            text += f", accuracy {state['accuracy']:.2f} %"
        losses = {k.removesuffix("/loss"): v for k, v in state.get("losses", {}).items()}
        return text + "".join(f", {name} {value:.3f}" for name, value in losses.items() if value is not None)

    def _view(self) -> Group:
        running = self._running()
        lines = Table.grid(padding=(0, 2))
        for name in running:
            runs = self.cohorts[name].runs
            lines.add_row(Text(f"{runs[0].label} x {len(runs)}", style="cyan"), Text(self._status(name)))
        parts: list[RenderableType] = [self.bar, lines]
        if self.board:
            first = {self.board.row(run) for name in running for run in self.cohorts[name].runs}
            parts.append(self.board.view(self.console.size.height - len(running) - 2, first))
        return Group(*parts)
