"""A job for machines that have none of this one's files: what it names travels with it."""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bench.errors import UsageError
from bench.execution.cohorts import Cohort
from bench.execution.provenance import source_hash
from bench.execution.worker import Job, work


@dataclass(frozen=True)
class Parcel:
    """A job without paths of the sender's, and the files to which they led."""

    job: Job
    files: Mapping[str, bytes]  # by the path that the sender knows
    source: str  # hash of the sender's code


def pack(job: Job) -> Parcel:
    """The data root is left out: every worker has its own (`BENCH_DATA`)."""
    index = [] if job.data.index_file is None else [job.data.index_file]
    files = {str(path): path.read_bytes() for path in (*job.plugins, *index)}
    return Parcel(replace(job, data=replace(job.data, root=None), told=job.origin()), files, source_hash())


def work_on(delivery: tuple[Cohort, Parcel]) -> bool:
    """What a worker of a cluster does. One argument, a tuple: joblib would lay anything larger into the memory of
    one worker, with which it would die."""
    cohort, parcel = delivery
    if source_hash() != parcel.source:  # of a worker that came after the others were looked at
        raise UsageError(f"worker on {platform.node()} runs other code than the call. Install the same version there.")
    work(cohort, _unpacked(parcel))
    return True


def _unpacked(parcel: Parcel) -> Job:
    job, index = parcel.job, parcel.job.data.index_file
    plugins = tuple(_written(path.name, parcel.files[str(path)]) for path in job.plugins)
    if index is not None:
        index = _written(index.name, parcel.files[str(index)])
    return replace(job, plugins=plugins, data=replace(job.data, index_file=index))


@cache
def _written(name: str, content: bytes) -> Path:
    """The file on this machine, once for as long as this process lives."""
    folder = Path(tempfile.mkdtemp(prefix=f"ssgan-bench-{hashlib.sha256(content).hexdigest()[:8]}-"))
    path = folder / name
    path.write_bytes(content)
    return path


def absolute(results: str) -> str:
    """The same folder for processes that were started elsewhere."""
    return results if "://" in results else str(Path(results).resolve())
