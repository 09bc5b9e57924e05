"""The cells of a grid while they fill up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from statistics import fmean, stdev

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.analysis.policies import errors_of
from bench.analysis.runs import protocol_label
from bench.errors import printable
from bench.grid import Run
from bench.store import Record

Cell = tuple[str, int]  # row, budget
EMPTY = "\N{MIDDLE DOT}"
CHROME = 3  # lines around the rows: a blank one, the caption, the budgets


class Board:
    """Variants x budgets: mean and standard deviation (ddof 1) of the runs that are there so far, and how many are."""

    def __init__(self, runs: Sequence[Run], stored: Iterable[Record]) -> None:
        """`runs` are all of the grid, on one dataset; of each one at most one record will ever be added."""
        self.protocols = list(dict.fromkeys(protocol_label(run) for run in runs))
        self.dataset = runs[0].dataset
        self.rows = list(dict.fromkeys(self.row(run) for run in runs))
        self.budgets = sorted({run.budget for run in runs})
        self.expected: dict[Cell, int] = {}
        for run in runs:
            self.expected[self._cell(run)] = self.expected.get(self._cell(run), 0) + 1
        self.accuracies: dict[Cell, list[float]] = {cell: [] for cell in self.expected}
        self.failed = dict.fromkeys(self.expected, 0)
        self.add(stored)

    def row(self, run: Run) -> str:
        """The row that a run belongs to."""
        return run.label if len(self.protocols) == 1 else f"{run.label}, {protocol_label(run)}"

    def add(self, records: Iterable[Record]) -> None:
        """Counts further runs."""
        for record in records:
            cell, errors = self._cell(record.run), errors_of(record, "last")
            if record.status == "done" and errors is not None:
                self.accuracies[cell].append(100 * (1 - errors / record.test_images))
            else:
                self.failed[cell] += 1

    def view(self, lines: int, first: Collection[str] = ()) -> Group:
        """At most so many lines, nothing if that is too few.

        Args:
            first: rows that are shown whatever else has to go.
        """
        room = lines - CHROME
        if room < 1:
            return Group()
        shown = set(self.rows) if len(self.rows) <= room else self._most_wanted(room - 1, first)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("", *map(str, self.budgets)):
            table.add_column(Text(name), justify="right" if name else "left", no_wrap=True)
        for row in self.rows:
            if row in shown:
                table.add_row(Text(printable(row), style="cyan"), *(Text(self._text(row, b)) for b in self.budgets))
        where = ", ".join([self.dataset, *self.protocols])
        caption = f"{where}: accuracy (%) by number of labels, last evaluation, mean ± std (runs)"
        hidden = len(self.rows) - len(shown)
        more = [Text(f"and {hidden} more variant{'s' * (hidden > 1)}", style="dim")] if hidden else []
        return Group(Text(), Text(printable(caption), style="dim", no_wrap=True, overflow="ellipsis"), table, *more)

    def _most_wanted(self, room: int, first: Collection[str]) -> set[str]:
        """The rows that must be shown, then the last ones."""
        ranked = [row for row in self.rows if row in first] + [row for row in self.rows[::-1] if row not in first]
        return set(ranked[:room])

    def _cell(self, run: Run) -> Cell:
        return self.row(run), run.budget

    def _text(self, row: str, budget: int) -> str:
        """`97.12 ± 0.50 (7/10, 1 failed)`: of ten runs seven are over, and one of the seven has no accuracy."""
        cell = (row, budget)
        if cell not in self.expected:
            return ""
        values, failed = self.accuracies[cell], self.failed[cell]
        mean = f"{fmean(values):.2f}" if values else EMPTY
        spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
        note = f", {failed} failed" if failed else ""
        return f"{mean}{spread} ({len(values) + failed}/{self.expected[cell]}{note})"
