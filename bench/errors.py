"""What a user sees when something that they wrote cannot be done."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UsageError(Exception):
    """A mistake in the user's input: shown as one short message, exit code 2, no traceback.

    The message names what is wrong, what is allowed and, where it can be guessed, what was meant.
    """


def unknown(kind: str, value: str, allowed: Iterable[str], hint: str = "") -> UsageError:
    """The error for a name that does not exist: names it, its nearest match and what is allowed."""
    names = sorted(allowed)
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(value.lower(), by_lower, n=1, cutoff=0.5)
    meant = f" Did you mean {by_lower[near[0]]!r}?" if near else ""
    return UsageError(
        f"unknown {kind} {shorten(value)!r}.{meant} Allowed: {', '.join(names)}.{' ' + hint if hint else ''}"
    )


def raised_in(error: Exception, module: str) -> str:
    """An error's type and text, and the line of the author's file where it came up."""
    text = f"{type(error).__name__}: {error}"
    own = getattr(sys.modules.get(module), "__file__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f"{text} (line {lines[-1]} of {Path(own).name})" if own and lines else text


@contextmanager
def running(variant: str, module: str) -> Iterator[None]:
    """Around a variant's own code, which may raise anything: what it raises becomes a UsageError."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        found = shorten(raised_in(error, module), 400)
        raise UsageError(f"variant {variant!r} fails: {found}. `bench check-variant` tests variants.") from error


def printable(text: str) -> str:
    """The text with control characters, which can command a terminal, as visible escapes; line breaks stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def shorten(value: object, limit: int = 80) -> str:
    """The text of a user's value, its middle cut out so that an absurdly long one cannot flood the message."""
    text = str(value)
    tail = limit // 2
    return text if len(text) <= limit else f"{text[: limit - 3 - tail]}...{text[-tail:]}"
