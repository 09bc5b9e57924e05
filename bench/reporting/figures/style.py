"""How figures look: the style file, and what tells variants apart, also for the colour-blind and in grey."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from importlib.resources import files
from typing import ParamSpec, TypeVar

import matplotlib.style
from matplotlib.typing import LineStyleType

P = ParamSpec("P")
R = TypeVar("R")

STYLE = str(files("bench.reporting.figures") / "bench.mplstyle")
# Okabe and Ito's colours but for yellow, too faint on white, and black, which is the baseline's
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[LineStyleType, ...] = (
    *("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (9, 2)), (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2))),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
GREY, INK, ACCENT = "#8A8A8A", "#222222", "#0072B2"


@dataclass(frozen=True)
class Style:
    """One variant's colour, dashes and marker; they say the same, so that any of them will do."""

    color: str
    dash: LineStyleType
    marker: str


BASELINE = Style("#555555", (0, (4, 2)), "d")


def styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each name, by its place; `supervised`, or what comes next to it, is always grey and dashed."""
    own = baseline(names)
    others = [name for name in dict.fromkeys(names) if name != own]
    found = {own: BASELINE} if own is not None else {}
    return found | {name: numbered(index) for index, name in enumerate(others)}


def numbered(index: int) -> Style:
    """The style of a place in a list: neighbours differ in all, any two of the first 36 in two things."""
    turn = index // len(COLOURS)
    dash = DASHES[(index + turn) % len(DASHES)]
    return Style(COLOURS[index % len(COLOURS)], dash, MARKERS[(index + turn) % len(MARKERS)])


def baseline(names: Sequence[str]) -> str | None:
    """`supervised` among labels of variants, else the first that goes by this name (`supervised[lr=0.1]`)."""
    if "supervised" in names:
        return "supervised"
    return next((name for name in names if re.match(r"supervised(\[|#| \()", name)), None)


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """The function, under the style of the figures and no other. A letter that the font lacks is a box, unreported."""

    @wraps(draw)
    def under_the_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            return draw(*args, **kwargs)

    return under_the_style
