"""Cohorts as joblib jobs. A killed worker costs its own cohort a further try, and nobody else anything."""

from __future__ import annotations

from collections.abc import Sequence

from bench.execution.cohorts import Cohort
from bench.execution.pools import Pool
from bench.execution.records import failure
from bench.execution.worker import Job
from bench.grid import Run
from bench.store import Store

RETURNED = ("finished", "stopped")  # last events of a cohort whose worker came back


def launch(cohorts: Sequence[Cohort], job: Job, pool: Pool) -> None:
    """Trains all cohorts. Returns when every run is stored, failed ones included, or when
    the job's orders are to stop.

    joblib drops everything in flight when one worker dies, and cannot say whose fault it was. So what had started is
    tried again alone, one cohort at a time, and in halves where that dies, too: memory may not suffice for all of it.
    A single run that dies alone is recorded as failed. The rest goes on in parallel.
    """
    store = Store(job.results)
    offsets = {cohort.name: store.journal(cohort.name).read()[1] for cohort in cohorts}
    pending, suspects = list(cohorts), []
    while pending and not job.orders.given():
        if pool.train(pending, job, pool.jobs):
            break
        left = [c for c in pending if _last_event(store, c, offsets) not in RETURNED]
        started = [c for c in left if _last_event(store, c, offsets) is not None]
        suspects += started
        pending = [c for c in left if c not in started] if started else left
        if not started:  # died before a cohort could say that it had started: nobody to blame, so one at a time
            suspects, pending = suspects + left, []
    for cohort in suspects:
        _train_alone(store, cohort, job, pool)


def _train_alone(store: Store, cohort: Cohort, job: Job, pool: Pool) -> None:
    if job.orders.given() or pool.train([cohort], job, 1) or job.orders.given():
        return
    standings = store.standings(cohort.runs)
    missing = tuple(run for run in cohort.runs if not standings[run.id].settled)
    if len(missing) > 1:
        half = len(missing) // 2
        for part in (missing[:-half], missing[-half:]):
            _train_alone(store, Cohort(cohort.name, part), job, pool)
        return
    for run in missing:
        _record_death(store, run, cohort, job)


def _record_death(store: Store, run: Run, cohort: Cohort, job: Job) -> None:
    with store.folder.storing():
        lock = store.hold(run)
        if lock is None:  # somebody else has taken it over
            return
        with lock:
            if not store.has(run):
                store.write(failure(run, job.origin(), "the worker process was killed, twice (out of memory?)"))
        store.journal(cohort.name).append({"event": "finished", "runs": 1, "failed": 1})


def _last_event(store: Store, cohort: Cohort, offsets: dict[str, int]) -> str | None:
    events, _ = store.journal(cohort.name).read(offsets[cohort.name])
    return next((event["event"] for event in reversed(events) if event["event"] != "warning"), None)
