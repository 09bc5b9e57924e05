"""The entry point: runs a command and decides what becomes of errors."""

from __future__ import annotations

import sys

import typer

from bench.cli import (  # noqa: F401  (they add their commands to `app`)
    ablate,
    compare,
    gate,
    models,
    plot,
    report,
    results,
    run,
    serve,
    speed,
    table,
    tools,
)
from bench.cli.app import INTERRUPTED, USAGE, app
from bench.errors import UsageError, printable, shorten

LONGEST_MESSAGE = 1400  # characters
NUMBERS = {"valid integer": "a whole number", "valid number": "a number", "valid float": "a number"}  # in typer's words


def main() -> None:
    """Runs a command; exits with 0, 1 (a run failed), 2 (the user's mistake), 3 (not complete), 130 (interrupted)."""
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
        see = f"See `{context.command_path if context else 'bench'} --help`."
        _refuse(f"{_misfit(error, sys.argv[1:]) or error.format_message().rstrip('.')}. {see}")
    sys.exit(code if isinstance(code, int) else 0)


def _misfit(error: Exception, words: list[str]) -> str | None:
    """What was typed for a numeric option and what it takes; typer says only that it is no number."""
    message, names = getattr(error, "message", ""), getattr(getattr(error, "param", None), "opts", ())
    kind = next((text for word, text in NUMBERS.items() if word in message), None)
    for name in names if kind else ():
        for word, after in zip(words, [*words[1:], ""], strict=True):
            if word == name or word.startswith(f"{name}="):
                value = after if word == name else word.partition("=")[2]
                return f"{name} {shorten(value)!r}: it takes {kind}"
    return None


def _refuse(message: str) -> None:
    print(f"error: {printable(shorten(message, LONGEST_MESSAGE))}", file=sys.stderr)
    sys.exit(USAGE)
