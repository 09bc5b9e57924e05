"""What a run costs as its cohort grows: calls are shared by all runs, arithmetic is not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.speed.cases import CaseName, bare_step, case
from bench.speed.every import STACKED
from bench.speed.rounds import Alternative, Effort, Spread, measure
from bench.speed.setup import Setup
from bench.speed.tables import cohort, table
from bench.training.memory import state_bytes

SIZES = (1, 2, 5, 10, 20, 40, 80)
GAIN = 0.05  # of the time per run-step: a further doubling that saves less is not worth it
MEMORY = Path("/proc/meminfo")
ROOM = 0.25  # of the free memory, for the state of a cohort; activations and noise come on top
PRODUCTS = "products alone"


@dataclass(frozen=True)
class Growth:
    """Seconds per run-step by the size of the cohort.

    Attributes:
        relative: to a cohort of 1, measured at the same time.
        products: seconds per run-step of the matrix products by themselves.
    """

    executor: str
    seconds: Mapping[int, float]
    relative: Mapping[int, Spread]
    products: float

    @cached_property
    def shared(self) -> float:
        """a in a / n + b, fitted to the seconds per run-step in cohorts of n: seconds per step, whatever the runs."""
        return float(_fit(self.seconds)[0])

    @cached_property
    def own(self) -> float:
        """b: seconds of each run."""
        return float(_fit(self.seconds)[1])

    @property
    def knee(self) -> int | None:
        """The smallest size from which a further doubling saves less than `GAIN`; None where the largest saves more."""
        sizes = sorted(self.relative)
        for size, larger in pairwise(sizes):
            kept = self.relative[larger].median / self.relative[size].median
            if 1 - kept ** (1 / math.log2(larger / size)) < GAIN:
                return size
        return None


def _fit(seconds: Mapping[int, float]) -> np.ndarray:
    """a and b of a / n + b, with the least squares of relative deviations; neither below 0."""
    from scipy.optimize import nnls

    y = np.array(list(seconds.values()))
    x = np.array([[1 / n, 1.0] for n in seconds])
    return nnls(x / y[:, None], np.ones(len(y)))[0]


def fitting(sizes: Sequence[int], state: int) -> list[int]:
    """The sizes whose state, so many bytes per run, fits into memory beside all else."""
    if not MEMORY.exists():
        return list(sizes)
    line = next(line for line in MEMORY.read_text().splitlines() if line.startswith("MemAvailable:"))
    return [size for size in sizes if size * state <= ROOM * int(line.split()[1]) * 1024]


def measure_growth(setup: Setup, products: Alternative, sizes: Sequence[int], effort: Effort) -> Growth:
    """Each size in rounds of its own with a cohort of 1, so that no more than one large cohort is in memory."""
    one = setup.trainer(1)
    alone = {cohort(1): Alternative(one.step), PRODUCTS: products}
    found = measure(alone, effort)
    seconds, relative = {1: found.of(cohort(1)).median}, {1: Spread(1.0, 1.0, 1.0)}
    for size in sizes[1:]:
        trainer = setup.trainer(size)
        timings = measure({cohort(1): alone[cohort(1)], cohort(size): Alternative(trainer.step, size)}, effort)
        relative[size] = timings.ratio(cohort(size), cohort(1))
        seconds[size] = relative[size].median * seconds[1]
        del trainer
    return Growth(one.executor.name, seconds, relative, found.of(PRODUCTS).median)


def of_case(name: CaseName, sizes: Sequence[int], effort: Effort) -> Growth:
    """A case of `fm` on a CPU."""
    chosen = case(name)
    first = chosen.trainer(1)
    first.step()
    products = bare_step(chosen, STACKED if first.executor.name == "vmap" else None)
    return measure_growth(chosen, products, fitting(sizes, state_bytes(first)), effort)


def section(growths: Mapping[str, Growth]) -> str:
    """A table of all sizes, and what it is made of."""
    sizes = sorted({size for growth in growths.values() for size in growth.relative})
    header = ["runs", *(cell for title in growths for cell in (f"{title}, ms per run-step", "relative"))]
    rows = [[str(size), *(cell for growth in growths.values() for cell in _cells(growth, size))] for size in sizes]
    note = (
        "Time per run-step relative to a cohort of 1, each size in rounds with one (median, smallest to largest). The "
        "knee is the smallest cohort from which a further doubling saves less than "
        f"{GAIN:.0%}. Of each step, a is shared by its runs and b is each run's own, from the least squares of "
        "a / n + b; products are those of matrices, measured by themselves. Sizes that do not fit into memory are "
        "left out."
    )
    reasons = "\n".join(f"- {title}: {reason(growth)}" for title, growth in growths.items())
    return f"## Cost per run against cohort size\n\n{note}\n\n{table(header, rows)}\n{reasons}\n"


def _cells(growth: Growth, size: int) -> tuple[str, str]:
    if size not in growth.relative:
        return "", ""
    return f"{1e3 * growth.seconds[size]:.2f}", growth.relative[size].text(2)


def reason(growth: Growth) -> str:
    """Where the time of a run-step goes in a small cohort and in a large one, in words."""
    a, b, alone = growth.shared, growth.own, growth.shared + growth.own
    off = max(abs(a / n + b - seconds) / seconds for n, seconds in growth.seconds.items())
    knee = f"knee at {growth.knee}" if growth.knee else f"no knee up to {max(growth.relative)}"
    return (
        f"`{growth.executor}`, {knee}. a = {1e3 * a:.2f} ms, {a / alone:.0%} of a run alone: calls, whose number does "
        f"not grow with the cohort. b = {1e3 * b:.2f} ms, of which products take {1e3 * growth.products:.2f} ms: "
        f"arithmetic{_calls(growth)}, which no cohort saves. The sum misses no measured time by more than {off:.0%}."
    )


def _calls(growth: Growth) -> str:
    return " and the calls of each run" if growth.executor == "loop" else ""
