"""What a regression gate has found, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from bench.analysis.gate import LEVEL, MARGIN, Judged, Numerics
from bench.reporting.formats import plain_table
from bench.reporting.table import MISSING

MOST = 5  # runs that are named


def gate_report(judged: Sequence[Judged], numerics: Numerics) -> str:
    """A row per cell, what they mean, and what the exact tier says."""
    rows = [
        {
            "dataset": cell.cell.dataset,
            "protocol": cell.cell.protocol,
            "variant": cell.cell.variant,
            "labels": str(cell.cell.budget),
            "baseline": f"{cell.mean:.2f} ± {cell.std:.2f} (n={cell.n})",
            "now": f"{_number(cell.now)} (n={cell.k})",
            "change": _number(cell.now - cell.mean, "+"),
            "bound": _number(cell.bound),
            "can see": _number(cell.visible),
            "verdict": _verdict(cell),
        }
        for cell in judged
    ]
    notes = (
        f"Accuracy in %, last evaluation; ± is the sample standard deviation over seeds. bound: a mean below it is a "
        f"regression (a one-sided {100 * (1 - LEVEL):.0f} % prediction bound, Holm over {len(judged)} cells, and a "
        f"drop of more than {MARGIN} points). can see: the smallest true drop in points that is found in 80 % of cases."
    )
    return f"{plain_table(pd.DataFrame(rows), ('protocol', 'variant', 'verdict'))}\n\n{notes}\n\n{_exact(numerics)}\n"


def _verdict(cell: Judged) -> str:
    if cell.broken:
        return f"REGRESSION ({cell.broken} more failed or diverged)"
    if cell.regressed:
        return "REGRESSION"
    if not cell.measured:
        return "not measured" if not cell.k else f"too little measured (n={cell.k})"
    return "ok"


def _exact(numerics: Numerics) -> str:
    if numerics.changed:
        named = ", ".join(f"{cell.variant} at {cell.budget} labels, seed {s}" for cell, s in numerics.changed[:MOST])
        more = ", ..." if len(numerics.changed) > MOST else ""
        return (
            f"Exact tier: NUMERICS CHANGED in {len(numerics.changed)} of {numerics.compared} curves ({named}{more}). "
            "By itself no regression. If it is meant, raise the variant's version or NUMERICS_VERSION and record the "
            "baseline anew with --update; if not, something has changed that should not have."
        )
    elsewhere = "; ".join(numerics.elsewhere)
    if numerics.compared:
        others = f" Others were not compared: {elsewhere}." if elsewhere else ""
        return f"Exact tier: all {numerics.compared} curves are equal to the bit.{others}"
    return f"Exact tier: nothing to compare ({elsewhere or 'no run of the same seed'})."


def conclusion(judged: Sequence[Judged]) -> str:
    """The last line."""
    worse = [str(cell.cell) for cell in judged if cell.regressed]
    if worse:
        return f"REGRESSION in {len(worse)} of {len(judged)} cells: {'; '.join(worse)}"
    missing = [str(cell.cell) for cell in judged if not cell.measured]
    if missing:
        return f"TOO LITTLE MEASURED: {len(missing)} of {len(judged)} cells: {'; '.join(missing)}"
    return f"PASS: no regression in {len(judged)} cells"


def _number(value: float, sign: str = "") -> str:
    return MISSING if math.isnan(value) else f"{value:{sign}.2f}"
