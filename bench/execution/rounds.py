"""What a call still has to train, round by round, beside other calls on the same results folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from bench.datasets import Dataset
from bench.execution.cohorts import Cohort, group
from bench.execution.pools import Pool
from bench.execution.stopping import Orders
from bench.grid import Run
from bench.store import Standing, Store

WAIT = 0.5  # seconds between two looks at runs that others hold


def rounds(
    runs: Sequence[Run], dataset: Dataset, store: Store, pool: Pool, size: int | None,
    orders: Orders, say: Callable[[str], None], before: Mapping[str, Standing],
) -> Iterator[list[Cohort]]:  # fmt: skip
    """Cohorts to train now; and again, after those have been trained, until every run is settled or orders are to stop.

    Runs that another call holds are left out and awaited: what it stores is not repeated, and what it leaves behind
    when it dies is taken over. A run that fails is tried once per call.

    Args:
        before: the runs' standings when the call began.
    """
    store.folder.make()
    _tidy(runs, store)
    told = False
    while not orders.given():
        left = unsettled(runs, store, before)
        free = [run for run in left if not store.held(run)]
        if free:
            yield cohorts_of(free, dataset, store, pool.device, pool.jobs, size)
        elif left:
            if not told:
                say(f"{len(left)} runs are in training by another process; waiting for it (Ctrl-C leaves them to it)")
            told = True
            time.sleep(WAIT)
        else:
            return


def cohorts_of(
    runs: Sequence[Run], dataset: Dataset, store: Store, device: torch.device, jobs: int, size: int | None
) -> list[Cohort]:
    """Cohorts by rule. On a GPU, where a run's bits depend on its cohort, runs go on together as they began."""
    kept = _interrupted(runs, store) if device.type == "cuda" else []
    taken = {run.id for cohort in kept for run in cohort.runs}
    return [*kept, *group([run for run in runs if run.id not in taken], dataset, device, jobs, size)]


def _interrupted(runs: Sequence[Run], store: Store) -> list[Cohort]:
    """The cohorts that checkpoints tell of, as far as their runs are still to be trained."""
    missing = {run.id: run for run in runs}
    heads = [head for head in store.checkpoints.heads() if head.run.id in missing]
    compositions = dict.fromkeys((head.cohort, head.step) for head in heads)
    found = []
    for ids, step in compositions:
        own = {head.run.id for head in heads if (head.cohort, head.step) == (ids, step)}
        part = tuple(missing[run_id] for run_id in ids if run_id in own)
        found.append(Cohort(f"{part[0].label}-{part[0].protocol}-{part[0].id}", part))
    return found


def unsettled(runs: Sequence[Run], store: Store, before: Mapping[str, Standing]) -> list[Run]:
    """The runs that are not stored, and have not failed since `before` was taken."""
    now = store.standings(runs)
    return [run for run in runs if not now[run.id].settled and now[run.id] in (Standing(), before[run.id])]


def _tidy(runs: Sequence[Run], store: Store) -> None:
    """Deletes the checkpoints of runs that are stored: their call was killed before it could."""
    standings = store.standings(runs)
    for head in store.checkpoints.heads():
        run = head.run
        if run.id in standings and standings[run.id].settled and not store.held(run):
            store.checkpoints.delete(run.id)
