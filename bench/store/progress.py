"""How a worker tells every display what it is doing: one line of JSON per event, appended to a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bench.store.record import finite


def append_progress(path: Path, event: dict[str, Any]) -> None:
    """Append one event in a single write, so that the lines of several writers never mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(finite(event), allow_nan=False).encode() + b"\n"
    with path.open("ab+", buffering=0) as file:
        if not _ends_a_line(file.fileno()):  # a writer was killed in the middle of a line: leave that one behind
            line = b"\n" + line
        file.write(line)


def _ends_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return True
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"


def read_progress(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The events after `offset` bytes, and the offset to go on from.

    A last line that is still being written is left for the next call; a line that a killed writer left half-written is
    skipped. A file that does not exist yet holds no events.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    events = [event for line in whole.splitlines() if (event := _event(line)) is not None]
    return events, offset + len(whole)


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
