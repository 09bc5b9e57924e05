"""Axes: logarithmic ones with plain numbers at 1, 2 and 5, and one for errors, which may be nothing at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

RANGE = 4.0  # the largest value over the smallest: below it, equal steps say more than equal factors
MOST_TICKS = 7
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20, ... from `low` to `high`, only powers of ten where there would be too many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        found = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(found) <= MOST_TICKS:
            break
    return found[:: -(-len(found) // MOST_TICKS)]


def plain(value: float) -> str:
    """A number as people write it: 0.5, 20, 2·10¹²."""
    if value == 0 or 1e-3 <= value < 1e5:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPT)
    return power if mantissa == "1" else f"{mantissa}·{power}"


def set_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """These ticks and no others, in plain numbers."""
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FixedFormatter([plain(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def log_x(panel: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis for positive values; one for equal values reaches from their half to their double."""
    low, high = min(values), max(values)
    margin = 2.0 if high / low < 2 else (high / low) ** 0.06
    panel.set_xscale("log")
    panel.set_xlim(low / margin, high * margin)
    set_ticks(panel.xaxis, log_ticks(low / margin, high * margin))


def error_y(panel: Axes, values: Sequence[float], factors: bool = True) -> None:
    """A y axis for errors in percent, from the least to the most of them.

    Where the values differ by a factor, and `factors` matter, it is logarithmic; linear next to 0 if one of them is 0.
    """
    found = np.array(values, dtype=float)
    low, high = float(found.min()), float(found.max())
    positive = found[found > 0]
    least = float(positive.min()) if len(positive) else high
    if high < RANGE * least or not factors:
        margin = 0.06 * (high - low) or 1.0
        panel.set_ylim(low - margin, high + margin)
    elif low > 0:
        panel.set_yscale("log")
        margin = (high / low) ** 0.05
        panel.set_ylim(low / margin, high * margin)
        set_ticks(panel.yaxis, log_ticks(low / margin, high * margin))
    else:
        panel.set_yscale("symlog", linthresh=least, linscale=0.4)
        panel.set_ylim(-0.15 * least, high * 1.2)
        set_ticks(panel.yaxis, [0.0, *log_ticks(least, high)])


def within_percent(panel: Axes, metric: str) -> None:
    """Cuts off what intervals promise beyond 0 and 100 %."""
    if metric != "errors":
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, -2), min(high, 102))
