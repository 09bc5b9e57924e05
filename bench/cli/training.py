"""What commands that train share: their options, and the training itself."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

import typer

from bench.cli.app import INCOMPLETE, INTERRUPTED, count, option, out
from bench.errors import UsageError, shorten, unknown

if TYPE_CHECKING:
    from bench.datasets import Dataset
    from bench.execution.pools import Pool, Processes
    from bench.execution.stopping import Orders
    from bench.execution.worker import Job
    from bench.grid import Run
    from bench.store import Record, Store

TIME_LIMIT = option(
    "--time-limit", metavar="90s|9m|2h", help="Stop at a checkpoint after so long; the same command goes on."
)
CHECKPOINT_EVERY = option(
    "--checkpoint-every", metavar="SECONDS", help="Between two checkpoints of a run in training. Default: 60."
)
PRECISION = option(
    "--precision", metavar="auto|fp32|tf32|bf16",
    help="On a GPU. Default: auto, which is fp32 until a faster one is shown to leave results as they are.",
)  # fmt: skip
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def device_of(name: str) -> Any:
    """The device that `--device` means."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise unknown("device in --device", name, ["auto", "cpu", "cuda"])
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use. Use --device cpu or auto.")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def precision_of(text: str, device: str) -> str | None:
    """The precision that `--precision` means for runs on a type of device; None: its default, which names none.

    Raises:
        UsageError: no such precision; not on a CPU; the type is `auto`, as nobody knows yet what a cluster has.
    """
    from bench.training.precision import DEFAULTS, PrecisionName

    if text not in (allowed := ["auto", *get_args(PrecisionName)]):
        raise unknown("precision in --precision", text, allowed)
    if text == "auto" or text == DEFAULTS.get(device):
        return None
    if device == "auto":
        raise UsageError(f"--precision {text} with --cluster: say what its workers have, such as --device cuda.")
    if device == "cpu":
        raise UsageError(f"--precision {text}: a CPU computes in fp32. Leave it out, or train on a GPU.")
    return text


def cohort_size(text: str) -> int | None:
    """The most runs per cohort that `--cohort` allows; None: by rule."""
    if text == "auto":
        return None
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise UsageError(f"--cohort {shorten(text)!r}: allowed are auto and numbers from 1.")
    return int(text)


def deadline_of(text: str | None) -> float | None:
    """When `--time-limit` ends, in seconds since the epoch; None: never."""
    if text is None:
        return None
    parts = re.findall(r"(\d{1,7}(?:\.\d{1,6})?)([smhd]?)", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not seconds or any(not u for _, u in parts[:-1]):
        raise UsageError(f"--time-limit {shorten(text)!r}: allowed are times such as 90s, 9m, 2h and 1h30m.")
    return time.time() + seconds


def interval(seconds: float | None) -> float:
    """What `--checkpoint-every` means."""
    from bench.execution.worker import CHECKPOINT_EVERY as usual

    if seconds is not None and not 0 <= seconds <= UNITS["d"]:
        raise UsageError(f"--checkpoint-every {seconds}: allowed are numbers from 0 (every step) to {UNITS['d']}.")
    return usual if seconds is None else seconds


def local_pool(device: str, jobs: int | None) -> Processes:
    """The worker processes that `--device` and `--jobs` mean: by default one for the GPU, else one per core."""
    from bench.execution.pools import Processes

    place, processes = device_of(device), count(jobs, "--jobs")
    return Processes(place, 1 if place.type == "cuda" and jobs is None else processes)


@contextmanager
def workers(cluster: str | None, device: str, jobs: int | None, results: str) -> Iterator[Pool]:
    """The workers of `--cluster`, or those of this machine."""
    if cluster is None:
        yield local_pool(device, jobs)
        return
    from bench.execution.cluster import cluster as connected

    out.print(f"looking for the workers of {cluster}", markup=False)
    with connected(cluster, device, results) as pool:
        yield pool


def workers_of(cluster: str) -> int:
    """How many workers `--cluster` means; those of another machine are asked, and nothing else."""
    from bench.execution.cluster import count_workers

    return count_workers(cluster)


@contextmanager
def stoppable(deadline: float | None, shared: str | None = None) -> Iterator[Orders]:
    """Around all training of a command: Ctrl-C, SIGTERM and the deadline stop it at a checkpoint.

    Args:
        shared: the results folder, where workers are on other machines.
    """
    from bench.execution.stopping import interruptible

    try:
        with interruptible(deadline, lambda text: out.print(text, markup=False), shared) as orders:
            yield orders
    except KeyboardInterrupt:
        out.print("\nKilled. What has finished is stored; the same command completes the rest:", markup=False)
        out.print("  " + shlex.join(["bench", *sys.argv[1:]]), markup=False)
        raise typer.Exit(INTERRUPTED) from None


def train(
    runs: list[Run], dataset: Dataset, store: Store, job: Job, pool: Pool, size: int | None, what: str,
    hear: Callable[[Sequence[Record]], None] = lambda records: None,
) -> None:  # fmt: skip
    """Trains what is missing of the runs and shows how far they are.

    Args:
        hear: is given the records of the runs that are trained, soon after they are stored.

    Raises:
        typer.Exit: it was told to stop before all were done; what is saved and how to go on has been said.
    """
    from bench.execution import launch, rounds
    from bench.execution.rounds import unsettled
    from bench.reporting.live import Display

    def say(text: str) -> None:
        out.print(text, markup=False)

    before = store.standings(runs)
    say(f"{what}, {sum(standing.settled for standing in before.values())} of them already stored")
    for cohorts in rounds(runs, dataset, store, pool, size, job.orders, say, before):
        say(f"{len(cohorts)} cohorts to train with {pool}")
        with Display(store, cohorts, out, runs, hear):
            launch(cohorts, job, pool)
    if job.orders.given() and (left := len(unsettled(runs, store, before))):
        why = "Time limit reached" if job.orders.overdue() else "Interrupted"
        say(f"\n{why}: {left} of {len(runs)} runs are unfinished; those that had begun have a checkpoint. To go on:")
        say("  " + shlex.join(["bench", *sys.argv[1:]]))
        raise typer.Exit(INCOMPLETE if job.orders.overdue() else INTERRUPTED)
