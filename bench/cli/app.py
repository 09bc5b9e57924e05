"""The commands, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer
from rich.console import Console

from bench.errors import UsageError, shorten

LONGEST_MESSAGE = 1400  # characters
USAGE, FAILURE, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    name="bench",
    help="A benchmark of semi-supervised GANs that people can trust.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=True, highlight=False)


def default_data() -> Path:
    """The data root: BENCH_DATA, else a folder in the user's cache."""
    return Path(os.environ.get("BENCH_DATA") or Path.home() / ".cache" / "ssgan-bench")


def main() -> None:
    """Runs a command; exits with 0, or 1 (a run failed), 2 (the user's mistake), 130 (interrupted)."""
    from bench.cli import results, run, tools  # noqa: F401  (they add their commands to `app`)

    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        _fail(str(error))
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except Exception as error:
        # typer's own errors (unknown option, missing value) carry their message and exit code
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "bench"
        _fail(f"{error.format_message()} See `{command} --help`.")
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    print(f"error: {shorten(message, LONGEST_MESSAGE)}", file=sys.stderr)
    sys.exit(USAGE)
