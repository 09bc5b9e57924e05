"""What a user sees when something that they wrote cannot be done."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def shorten(value: object, limit: int = 80) -> str:
    """The text of a user's value, its middle cut out so that an absurdly long one cannot flood the message."""
    text = str(value)
    tail = limit // 2
    return text if len(text) <= limit else f"{text[: limit - 3 - tail]}...{text[-tail:]}"
