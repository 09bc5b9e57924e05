"""What a check says when a variant does not conform."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from bench.errors import UsageError
from bench.variant import Variant


class ConformanceError(Exception):
    """A variant breaks its contract; the message says where and how."""


def describe(error: Exception, kind: type[Variant]) -> str:
    """The text of an error; of one that the variant's code raised also its type and the line in the author's file."""
    if isinstance(error, ConformanceError | UsageError):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    own = getattr(sys.modules.get(kind.__module__), "__file__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f"{text} (line {lines[-1]} of {Path(own).name})" if own and lines else text
