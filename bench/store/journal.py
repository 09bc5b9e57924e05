"""How a worker tells every display what its cohort is doing: events, one line of JSON each."""

from __future__ import annotations

import json
from typing import Any, Protocol

from bench.store.folder import Folder
from bench.store.local import LocalFolder
from bench.store.record import finite

Events = list[dict[str, Any]]


class Journal(Protocol):
    """The events of one cohort, those of earlier calls included."""

    heartbeat: float  # seconds between two reports of steps, at least

    def append(self, event: dict[str, Any]) -> None:
        """
        Raises:
            OSError, UsageError: the results folder cannot be written to.
        """

    def read(self, since: int = 0) -> tuple[Events, int]:
        """The events since an earlier reading, and what to go on from. Where nothing was written there are none."""


class LocalJournal:
    """A file that grows. One reads on from a number of bytes."""

    heartbeat = 1.0

    def __init__(self, folder: LocalFolder, name: str) -> None:
        self.folder, self.name = folder, name

    def append(self, event: dict[str, Any]) -> None:
        self.folder.append(self.name, _line(event))

    def read(self, since: int = 0) -> tuple[Events, int]:
        """A last line that is still being written is left for the next call; a line that a killed writer left
        half-written is skipped."""
        try:
            data = self.folder.read(self.name, since)
        except FileNotFoundError:
            return [], since
        whole = data[: data.rfind(b"\n") + 1]
        return _events(whole), since + len(whole)


class RemoteJournal:
    """An object that its writer replaces: each event with its number, of reports of steps the last. One reads on from
    the number of an event."""

    heartbeat = 15.0

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name
        self.written: Events | None = None  # by this writer, and by those before it

    def append(self, event: dict[str, Any]) -> None:
        if self.written is None:
            self.written = self._read()
        kept = self.written
        number = kept[-1]["number"] + 1 if kept else 1
        if kept and kept[-1].get("event") == "step" == event.get("event"):
            kept.pop()
        kept.append({**event, "number": number})
        self.folder.write(self.name, b"".join(_line(own) for own in kept))

    def read(self, since: int = 0) -> tuple[Events, int]:
        new = [event for event in self._read() if event["number"] > since]
        return new, new[-1]["number"] if new else since

    def _read(self) -> Events:
        try:
            return [e for e in _events(self.folder.read(self.name)) if isinstance(e.get("number"), int)]
        except FileNotFoundError:
            return []


def journal(folder: Folder, name: str) -> Journal:
    return LocalJournal(folder, name) if isinstance(folder, LocalFolder) else RemoteJournal(folder, name)


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(finite(event), allow_nan=False).encode() + b"\n"


def _events(lines: bytes) -> Events:
    return [event for line in lines.splitlines() if (event := _event(line)) is not None]


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
