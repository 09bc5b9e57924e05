"""The application, and what all commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from bench.errors import UsageError

FAILURE, USAGE, INCOMPLETE, INTERRUPTED = 1, 2, 3, 130  # exit codes
SELECTION = "balanced|random|first|prototypes|FILE"  # what --label-selection takes
DEFAULT_RESULTS = "results/runs"

app = typer.Typer(
    name="bench",
    help="A benchmark of semi-supervised GANs that people can trust.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=True, highlight=False)


def option(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, show_default=False)


def path_option(*names: str, help: str, metavar: str) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, show_default=False, parser=_path)


def path_argument(metavar: str, help: str | None = None) -> Any:
    return typer.Argument(metavar=metavar, help=help, show_default=False, parser=_path)


def results_option(help: str = "Default: results/runs. Also an address such as s3://BUCKET/RUNS.") -> Any:
    return typer.Option("--results", help=help, metavar="DIR", show_default=False, parser=_results)


def results_argument() -> Any:
    return typer.Argument(metavar="[RESULTS]", show_default=False, parser=_results)


def _path(text: str | Path) -> Path:
    return Path(_results(str(text)))


def _results(text: str) -> str:
    if not text:
        raise UsageError("a path is empty; is a shell variable not set? Give the name of a file or folder.")
    return text


def count(value: int | None, name: str) -> int:
    """The value of an option that counts things; unset: the number of processor cores.

    Raises:
        UsageError: it is below 1.
    """
    if value is not None and value < 1:
        raise UsageError(f"{name} {value}: allowed are 1 and larger numbers.")
    return value or os.cpu_count() or 1
