"""The regression gate: have the runs of today dropped against a baseline, beyond what seeds explain?

Two tiers. *Exact*: on the same torch and CPU a run's curve is the same to the bit, or the numerics have changed, which
is no fault in itself. *Statistical*: the mean of today's k seeds, if nothing has changed, lies with 99 % above

    m - t_{0.99, n-1} s sqrt(1/k + 1/n)

for a baseline of n seeds with mean m and standard deviation s (a one-sided prediction bound; Hahn and Meeker 1991,
Statistical Intervals, section 4.8). Over several cells the level is Holm's. A drop below that bound which is larger
than a practical margin is a regression. So is a run that fails where none of the baseline did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import pandas as pd
from scipy import optimize, special, stats

from bench.analysis.baseline import Cell, Seen
from bench.analysis.comparison import holm

LEVEL = 0.01  # false alarms of all cells together
POWER = 0.8
MARGIN = 0.5  # points: a smaller drop is nobody's concern
FEWEST_NOW = 2  # runs per cell, below which too little was measured


@dataclass(frozen=True)
class Judged:
    """One cell.

    Attributes:
        n, mean, std: of the baseline's runs that are done; accuracies in percent.
        k, now: how many runs of today are done, and their mean.
        critical: the quantile of t that a drop must exceed, at the level that Holm leaves to the first cell.
        p: of a drop of this size, if nothing has changed; not corrected.
        broken: runs that failed or diverged beyond those of the baseline.
        regressed: whether the cell is a regression.
    """

    cell: Cell
    n: int
    mean: float
    std: float
    k: int
    now: float
    critical: float
    p: float
    broken: int
    regressed: bool = False

    @property
    def measured(self) -> bool:
        """Whether enough runs of today are there to judge by."""
        return self.k >= FEWEST_NOW or self.broken > 0

    @property
    def error(self) -> float:
        """The standard error of the difference of the means; missing where there is nothing of today."""
        return standard_error(self.std, self.n, self.k)

    @property
    def bound(self) -> float:
        """A mean of today's runs below it is a regression."""
        return self.mean - max(MARGIN, self.critical * self.error)

    @property
    def visible(self) -> float:
        """The smallest true drop in points that falls below the bound with 80 % probability (noncentral t)."""
        if not self.error > 0:
            return MARGIN if self.error == 0 else math.nan
        limit = max(self.critical, MARGIN / self.error)

        def missed(noncentrality: float) -> float:
            return float(stats.nct.sf(limit, self.n - 1, noncentrality)) - POWER

        return float(optimize.brentq(missed, 0, 20 + 10 * limit)) * self.error


def judge(baseline: Mapping[Cell, Sequence[Seen]], today: Mapping[Cell, Sequence[Seen]]) -> list[Judged]:
    """Every cell of the baseline; those without runs of today are not `measured`."""
    found = [_cell(cell, runs, today.get(cell, ()), len(baseline)) for cell, runs in baseline.items()]
    adjusted = holm(pd.Series([judged.p for judged in found], dtype=float))
    return [
        replace(judged, regressed=judged.broken > 0 or bool(p < LEVEL and judged.mean - judged.now > MARGIN))
        for judged, p in zip(found, adjusted, strict=True)
    ]


def _cell(cell: Cell, before: Sequence[Seen], today: Sequence[Seen], cells: int) -> Judged:
    old, new = _accuracies(before), _accuracies(today)
    n, k, mean, std = len(old), len(new), fmean(old), stdev(old)
    now = fmean(new) if k else math.nan
    return Judged(
        cell, n, mean, std, k, now, critical=float(special.stdtrit(n - 1, 1 - LEVEL / cells)),
        p=_p(mean - now, standard_error(std, n, k), n), broken=max(0, _failures(today) - _failures(before)),
    )  # fmt: skip


def standard_error(std: float, n: int, k: int) -> float:
    """Of the difference between the means of n and of k runs with this spread."""
    return std * math.sqrt(1 / k + 1 / n) if k else math.nan


def _p(drop: float, error: float, n: int) -> float:
    if math.isnan(drop):
        return math.nan
    return float(special.stdtr(n - 1, -drop / error)) if error > 0 else float(drop <= 0)


def _accuracies(runs: Sequence[Seen]) -> list[float]:
    return [run.accuracy for run in runs if run.accuracy is not None]


def _failures(runs: Sequence[Seen]) -> int:
    return sum(run.status != "done" for run in runs)


@dataclass(frozen=True)
class Numerics:
    """What the exact tier has found.

    Attributes:
        compared: pairs of runs with the same seed, torch and CPU.
        changed: cells and seeds whose curves differ.
        elsewhere: what differs between the two machines, where nothing could be compared.
    """

    compared: int
    changed: tuple[tuple[Cell, int], ...]
    elsewhere: tuple[str, ...]


def numerics(baseline: Mapping[Cell, Sequence[Seen]], today: Mapping[Cell, Sequence[Seen]]) -> Numerics:
    """Compares the runs that both have: their curves, and what is read off them, to the bit."""
    pairs = [
        (cell, old, new)
        for cell, runs in baseline.items()
        for old in runs
        for new in today.get(cell, ())
        if old.seed == new.seed and old.curve and new.curve
    ]
    on_cpu = [(cell, old, new) for cell, old, new in pairs if new.numerics.get("device") == "cpu"]
    alike = [(cell, old, new) for cell, old, new in on_cpu if old.numerics == new.numerics]
    elsewhere = {
        f"{name} {old.numerics.get(name) or 'unknown'} then, {value or 'unknown'} now"
        for _, old, new in pairs
        for name, value in new.numerics.items()
        if old.numerics.get(name) != value
    }
    if len(on_cpu) < len(pairs):
        elsewhere.add("bits are promised on a CPU only")
    changed = tuple(
        (cell, old.seed) for cell, old, new in alike if (old.curve, old.accuracy) != (new.curve, new.accuracy)
    )
    return Numerics(len(alike), changed, tuple(sorted(elsewhere)))
