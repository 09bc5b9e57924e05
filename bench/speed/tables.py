"""Tables and verdicts of the report."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from bench.speed.rounds import Spread


def cohort(runs: int) -> str:
    """What a cohort of so many runs is called."""
    return f"cohort of {runs}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers=header, tablefmt="pipe", disable_numparse=True) + "\n"


def verdict(met: bool) -> str:
    return "met" if met else "missed"


def target(title: str, found: Spread, most: float) -> tuple[str, str, str, str]:
    """A row that says whether a ratio is small enough."""
    return title, f"at most {most}", found.text(2), verdict(found.median <= most)
