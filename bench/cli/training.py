"""What commands that train share: their options, and the training itself."""

from __future__ import annotations

import shlex
import signal
import sys
from typing import Any

import typer

from bench.cli.app import INTERRUPTED, out
from bench.errors import UsageError, shorten, unknown


def device_of(name: str) -> Any:
    """The device that `--device` means."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise unknown("device in --device", name, ["auto", "cpu", "cuda"])
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use. Use --device cpu or auto.")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def cohort_size(text: str) -> int | None:
    """The most runs per cohort that `--cohort` allows; None: by rule."""
    if text == "auto":
        return None
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise UsageError(f"--cohort {shorten(text)!r}: allowed are auto and numbers from 1.")
    return int(text)


def train(store: Any, cohorts: Any, job: Any, processes: int, what: str) -> None:
    """Trains the cohorts in worker processes and shows how far they are; Ctrl-C says how to go on."""
    from bench.execution import launch
    from bench.reporting.live import Display

    out.print(f"{what}; {len(cohorts)} cohorts to train with {processes} worker processes", markup=False)
    if not cohorts:
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Display(store, cohorts, out):
            launch(cohorts, job, processes)
    except KeyboardInterrupt:
        out.print("\nInterrupted. What has finished is stored; the same command completes the rest:", markup=False)
        out.print("  " + shlex.join(["bench", *sys.argv[1:]]), markup=False)
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:  # a full disk, a folder that was deleted meanwhile
        raise UsageError(
            f"results folder {shorten(job.results)!r}: {error.strerror or error}. What had finished before is stored."
        ) from error


def _interrupt(*_: object) -> None:
    """SIGTERM ends a grid as Ctrl-C does."""
    raise KeyboardInterrupt
