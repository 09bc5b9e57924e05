"""The entry point: runs a command and decides what becomes of errors."""

from __future__ import annotations

import sys

import typer

from bench.cli import results, run, tools  # noqa: F401  (they add their commands to `app`)
from bench.cli.app import INTERRUPTED, USAGE, app
from bench.errors import UsageError, shorten

LONGEST_MESSAGE = 1400  # characters


def main() -> None:
    """Runs a command; exits with 0, or 1 (a run failed), 2 (the user's mistake), 130 (interrupted)."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UsageError as error:
        _refuse(str(error))
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except Exception as error:
        # typer's own errors (unknown option, missing value) carry their message
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        _refuse(f"{error.format_message().rstrip('.')}. See `{context.command_path if context else 'bench'} --help`.")
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(message: str) -> None:
    print(f"error: {shorten(message, LONGEST_MESSAGE)}", file=sys.stderr)
    sys.exit(USAGE)
