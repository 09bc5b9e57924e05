"""Cohorts as joblib jobs. A killed worker costs its own cohort a further try, and nobody else anything."""

from __future__ import annotations

from collections.abc import Sequence

from joblib import Parallel, delayed
from joblib.externals.loky import BrokenProcessPool

from bench.execution.cohorts import Cohort
from bench.execution.records import failure
from bench.execution.stopping import ignore_signals
from bench.execution.worker import Job, work
from bench.grid import Run
from bench.store import Store

RETURNED = ("finished", "stopped")  # last events of a cohort whose worker came back


def launch(cohorts: Sequence[Cohort], job: Job, jobs: int) -> None:
    """Trains all cohorts in `jobs` worker processes. Returns when every run is stored, failed ones included, or when
    the job's orders are to stop.

    joblib drops everything in flight when one worker dies, and cannot say whose fault it was. So what had started is
    tried again alone, one cohort at a time, and in halves where that dies, too: memory may not suffice for all of it.
    A single run that dies alone is recorded as failed. The rest goes on in parallel.
    """
    store = Store(job.results)
    offsets = {cohort.name: store.journal(cohort.name).read()[1] for cohort in cohorts}
    pending, suspects = list(cohorts), []
    while pending and not job.orders.given():
        if _all_returned(pending, job, jobs):
            break
        left = [c for c in pending if _last_event(store, c, offsets) not in RETURNED]
        started = [c for c in left if _last_event(store, c, offsets) is not None]
        suspects += started
        pending = [c for c in left if c not in started] if started else left
        if not started:  # died before a cohort could say that it had started: nobody to blame, so one at a time
            suspects, pending = suspects + left, []
    for cohort in suspects:
        _train_alone(store, cohort, job)


def _train_alone(store: Store, cohort: Cohort, job: Job) -> None:
    if job.orders.given() or _all_returned([cohort], job, 1) or job.orders.given():
        return
    standings = store.standings(cohort.runs)
    missing = tuple(run for run in cohort.runs if not standings[run.id].settled)
    if len(missing) > 1:
        half = len(missing) // 2
        for part in (missing[:-half], missing[-half:]):
            _train_alone(store, Cohort(cohort.name, part), job)
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


def _all_returned(cohorts: Sequence[Cohort], job: Job, jobs: int) -> bool:
    """Whether all workers came back; False when one was killed."""
    try:
        # with n_jobs=1 joblib would train in this process, which must survive: so two workers, and one job in flight
        Parallel(
            n_jobs=max(2, min(jobs, len(cohorts))), backend="loky", batch_size=1, pre_dispatch=jobs,
            initializer=ignore_signals,
        )(delayed(work)(cohort, job) for cohort in cohorts)  # fmt: skip
    except BrokenProcessPool:
        return False
    return True


def _last_event(store: Store, cohort: Cohort, offsets: dict[str, int]) -> str | None:
    events, _ = store.journal(cohort.name).read(offsets[cohort.name])
    return next((event["event"] for event in reversed(events) if event["event"] != "warning"), None)
