"""What a check says when a variant does not conform."""

from __future__ import annotations

from bench.errors import UsageError, raised_in
from bench.variant import Variant


class ConformanceError(Exception):
    """A variant breaks its contract; the message says where and how."""


def describe(error: Exception, kind: type[Variant]) -> str:
    """The text of an error; of one that the variant's code raised also its type and the line in the author's file."""
    if isinstance(error, ConformanceError | UsageError):
        return str(error)
    return raised_in(error, kind.__module__)
