"""Workers of a Dask cluster, reached through joblib's Dask backend (extra `distributed`)."""

from __future__ import annotations

import contextlib
import logging
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config

from bench.errors import UsageError, shorten
from bench.execution.cohorts import Cohort
from bench.execution.parcel import pack, work_on
from bench.execution.provenance import environment
from bench.execution.worker import Job
from bench.store.place import open_folder

ANSWER = 30  # seconds within which a scheduler, and at least one worker, must answer
FORMS = "tcp://SCHEDULER:8786 and local:N (N worker processes of this machine)"


class ClusterError(UsageError):
    """The cluster cannot be reached, or its workers cannot do this call's work."""


@contextmanager
def cluster(address: str, device: str, results: str) -> Iterator[ClusterPool]:
    """The workers behind `--cluster`, made sure to be able to do the work.

    Args:
        device: `auto`, `cpu` or `cuda`; auto is what all workers have.

    Raises:
        UsageError: no such form of address, no Dask, no answer, or unfit workers.
    """
    with _connected(address) as client:
        facts = _facts(client, address)
        _refuse_unfit(facts, address)
        _refuse_blind(client, results)
        yield ClusterPool(client, address, _device(facts, device))


def count_workers(address: str) -> int:
    """How many workers are behind `--cluster`.

    Raises:
        UsageError: no such form of address, no Dask, or no answer.
    """
    count = _local_workers(address)
    if count is None:
        with _connected(address) as client:
            count = max(1, len(client.nthreads()))
    return count


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A client of the scheduler, which has a worker."""
    count = _local_workers(address)
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError("--cluster needs Dask: pip install 'ssgan-bench[distributed]'.") from error
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is said here, and without tracebacks
    with contextlib.ExitStack() as stack:
        target: Any = address
        if count is not None:
            target = stack.enter_context(
                LocalCluster(
                    n_workers=count, threads_per_worker=1, memory_limit=0, dashboard_address=":0", silence_logs=40
                )
            )
        try:
            client = stack.enter_context(Client(target, timeout=ANSWER, set_as_default=False))
            client.wait_for_workers(1, timeout=ANSWER)
        except (OSError, TimeoutError) as error:
            raise ClusterError(
                f"--cluster {shorten(address)!r}: no scheduler with a worker answers within {ANSWER} s "
                f"({shorten(error, 120)}). Start `dask scheduler`, and on each machine `dask worker {address} "
                "--nthreads 1` (one for each GPU or core)."
            ) from error
        yield client


class ClusterPool:
    """See `Pool`."""

    def __init__(self, client: Any, address: str, device: torch.device) -> None:
        self.client, self.address, self.device = client, address, device

    @property
    def jobs(self) -> int:
        return max(1, len(self.client.nthreads()))

    def train(self, cohorts: Sequence[Cohort], job: Job, jobs: int) -> bool:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        parcel = pack(job)
        try:
            with parallel_config("dask", client=self.client, wait_for_workers_timeout=ANSWER):
                done = Parallel(n_jobs=-1, batch_size=1, pre_dispatch=jobs if jobs == 1 else "all")(
                    delayed(work_on)((cohort, parcel)) for cohort in cohorts
                )
        except KilledWorker:
            return False
        except (FutureCancelledError, OSError, TimeoutError) as error:
            raise self._lost(error) from error
        if not all(answer is True for answer in done):
            raise self._lost(next(answer for answer in done if answer is not True))
        return True

    def _lost(self, error: object) -> ClusterError:
        return ClusterError(
            f"the cluster {self.address} is gone ({shorten(error, 120)}). What had finished is stored, what was in "
            "training has checkpoints; the same command goes on when there is a cluster again."
        )

    def __str__(self) -> str:
        return f"{self.jobs} workers of {self.address}"


def _local_workers(address: str) -> int | None:
    """N of `local:N`; None for an address of a scheduler."""
    if found := re.fullmatch(r"local:(\d{1,4})", address):
        if int(found[1]) > 0:
            return int(found[1])
    elif re.fullmatch(r"(tcp|tls|ucx|ws|wss)://\S+", address):
        return None
    raise UsageError(f"--cluster {shorten(address)!r}: allowed are {FORMS}.")


def describe_worker() -> dict[str, Any]:
    """What a worker says of itself."""
    facts = environment()
    return {
        "source": facts["source"], "torch": facts["packages"]["torch"], "cuda": torch.cuda.is_available(),
    }  # fmt: skip


def _facts(client: Any, address: str) -> dict[str, dict[str, Any]]:
    """By worker."""
    try:
        found = client.run(describe_worker)
    except Exception as error:  # such as a package that is not installed there
        raise ClusterError(
            f"--cluster {shorten(address)!r}: a worker cannot do this work: {type(error).__name__}: "
            f"{shorten(error, 200)}. Every worker needs this version of ssgan-bench."
        ) from error
    return {worker: {**own, "threads": client.nthreads().get(worker, 1)} for worker, own in found.items()}


def _refuse_unfit(facts: Mapping[str, Mapping[str, Any]], address: str) -> None:
    own = describe_worker()
    for worker, found in facts.items():
        wrong = [f"{key} {found[key]} instead of {own[key]}" for key in ("source", "torch") if found[key] != own[key]]
        if wrong:
            raise ClusterError(
                f"--cluster {shorten(address)!r}: worker {worker} runs other code ({', '.join(wrong)}). Install the "
                "same versions everywhere, or results would not be comparable."
            )
        if found["threads"] != 1:
            raise ClusterError(
                f"--cluster {shorten(address)!r}: worker {worker} has {found['threads']} threads, and would train as "
                "many cohorts in one process. Start it with --nthreads 1, and --nworkers for more of them."
            )


def _refuse_blind(client: Any, results: str) -> None:
    """Refuses workers that do not see the results folder: a path of this machine only, say."""
    folder, probe = open_folder(results), f".probe-{uuid.uuid4().hex}"
    folder.make()
    with folder.storing():
        folder.write(probe, b"")
    try:
        for worker, problem in client.run(_problem_with, results, probe).items():
            if problem:
                raise ClusterError(
                    f"worker {worker} does not see the results in {shorten(results)!r} ({shorten(problem, 200)}). Name "
                    "with --results a folder that all machines share under one path, or an address such as "
                    "s3://BUCKET/RUNS that all of them can reach."
                )
    finally:
        folder.delete(probe)


def _problem_with(results: str, probe: str) -> str:
    try:
        return "" if open_folder(results).stamps(probe) else "nothing is there"
    except (UsageError, OSError) as error:
        return str(error)


def _device(facts: Mapping[str, Mapping[str, Any]], device: str) -> torch.device:
    able = [worker for worker, found in facts.items() if found["cuda"]]
    if device == "auto" and able and len(able) < len(facts):
        raise ClusterError(
            f"{len(able)} of {len(facts)} workers have a CUDA device: say --device cpu, or let only such workers in."
        )
    if device == "cuda" and len(able) < len(facts):
        raise ClusterError(f"--device cuda: only {len(able)} of {len(facts)} workers have a CUDA device.")
    return torch.device("cuda" if device != "cpu" and able else "cpu")
