"""A table in plain words, not yet escaped for any format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MISSING = "\N{EN DASH}"


class Entry(NamedTuple):
    """What stands in one place of a table."""

    text: str
    strong: bool = False  # among the best of its column


@dataclass(frozen=True)
class Table:
    """Names on the left, a column per budget on the right.

    Attributes:
        head: the names of the columns, that of the first one included.
        rows: `[rows, columns]`.
        notes: full sentences on what the numbers are.
        rules: a line is drawn above these rows.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()
    rules: frozenset[int] = frozenset()
