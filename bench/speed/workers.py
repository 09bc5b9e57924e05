"""What a second worker is worth: the throughput of two over that of one, where both are on this machine's cores."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from bench.execution import Cohort, DataSource
from bench.execution.cluster import cluster
from bench.execution.pools import Pool, Processes
from bench.execution.worker import Job
from bench.grid import Options, plan
from bench.speed.every import STACKED
from bench.speed.rounds import CPU, Spread, spread
from bench.speed.setup import BUDGET
from bench.speed.tables import table, verdict
from bench.store import Store

COHORTS, STEPS, EVALUATIONS, WARM_UP = 4, 100, 4, 5
GOAL = 1.6
PROCESSES, DASK = "worker processes", "Dask cluster"


def cohorts(data: DataSource, number: int, steps: int) -> list[Cohort]:
    """So many cohorts of `fm`, as large as is usual on a CPU."""
    options = Options(
        variants="fm", labels=str(BUDGET), seeds=str(number * STACKED), steps=steps,
        settings=[f"fm.evaluations={EVALUATIONS}"],
    )  # fmt: skip
    runs = plan(options, data.load())
    return [Cohort(f"speed-{at}", tuple(runs[at : at + STACKED])) for at in range(0, len(runs), STACKED)]


@contextmanager
def pools() -> Iterator[dict[str, dict[int, Pool]]]:
    """One worker and two of each sort; no Dask where it is not installed."""
    with ExitStack() as stack:
        found: dict[str, dict[int, Pool]] = {PROCESSES: {n: Processes(CPU, n) for n in (1, 2)}}
        if find_spec("distributed") is not None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            found[DASK] = {n: stack.enter_context(cluster(f"local:{n}", "cpu", folder)) for n in (1, 2)}
        yield found


def trained(pool: Pool, jobs: int, work: Sequence[Cohort], data: DataSource) -> float:
    """Run-steps per second of the clock, from the call to the last stored run.

    Raises:
        RuntimeError: not all runs were trained.
    """
    runs = [run for cohort in work for run in cohort.runs]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        whole = pool.train(work, Job(folder, data, "cpu"), jobs)
        seconds = time.perf_counter() - start
        standings = Store(Path(folder)).standings(runs).values()
        if not whole or any(found.status != "done" for found in standings):
            raise RuntimeError(f"{pool} did not train all runs")
    return sum(run.steps for run in runs) / seconds


def rates(rounds: int, number: int = COHORTS, steps: int = STEPS) -> dict[str, dict[int, list[float]]]:
    """Run-steps per second by sort and number of workers, round by round; the workers have begun and are warm."""
    data = DataSource("digits", Path())
    work, warm_up = cohorts(data, number, steps), cohorts(data, 2, WARM_UP)
    found: dict[str, dict[int, list[float]]] = {}
    with pools() as there:
        for sizes in there.values():
            for jobs, pool in sizes.items():
                trained(pool, jobs, warm_up, data)
        for _ in range(rounds):
            for sort, sizes in there.items():
                for jobs, pool in sizes.items():
                    found.setdefault(sort, {}).setdefault(jobs, []).append(trained(pool, jobs, work, data))
    return found


def section(found: Mapping[str, Mapping[int, Sequence[float]]]) -> str:
    """A row per sort of workers."""
    rows = []
    for sort, sizes in found.items():
        gained: Spread = spread([two / one for one, two in zip(sizes[1], sizes[2], strict=True)])
        rates = (spread(own).text(0) for own in (sizes[1], sizes[2]))
        rows.append((sort, *rates, gained.text(2), verdict(gained.median >= GOAL)))
    note = (
        f"{COHORTS} cohorts of {STACKED} `fm` runs on digits, {STEPS} steps: run-steps per second of the clock, from "
        f"the call to the last stored run, with workers that have begun. Client, scheduler and workers share this "
        f"machine's cores. Median (smallest to largest) of {len(next(iter(found.values()))[1])} rounds. Goal: two "
        f"workers at least {GOAL} times as fast as one."
    )
    return f"## More workers\n\n{note}\n\n" + table(("", "1 worker", "2 workers", "2 over 1", ""), rows)
