"""Where results lie: a folder of this machine or of an object store. Files go by names such as `digits/fm/ID.json`.

What both promise: a file is written whole or not at all, and nothing outside the folder is read or written.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator
from contextlib import AbstractContextManager
from fnmatch import translate
from functools import cache
from typing import Any, NamedTuple, Protocol

from bench.errors import UsageError


class StorageError(UsageError):
    """The results folder cannot be written to any more: a full disk, a folder that was deleted meanwhile."""


class Folder(Protocol):
    """The files in one place, hidden ones (`.locks/...`) included."""

    shown: str  # as the user has named it

    def exists(self) -> bool:
        """Whether there is anything that could be read."""

    def make(self) -> None:
        """Makes the folder; while runs train nothing makes it again."""

    def writable(self) -> None:
        """Makes sure that files can be written, by trying it; nothing is left behind either way.

        Raises:
            UsageError: they cannot.
        """

    def storing(self) -> AbstractContextManager[None]:
        """Around whatever is written while runs train.

        Raises:
            StorageError: the folder is gone (nothing makes it anew), or the system refuses to write.
        """

    def stamps(self, pattern: str) -> dict[str, Hashable]:
        """The files that match, in order, each with what changes whenever the file does.

        `*` in the pattern stands for any text within one part of a name, but for no hidden part.
        """

    def read(self, name: str, start: int = 0, most: int | None = None) -> bytes:
        """The file from byte `start` on, or the first `most` bytes of that.

        Raises:
            OSError: it cannot be read; FileNotFoundError where there is none.
            UsageError: the name leads out of the folder.
        """

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | OSError]]:
        """Every file, or why it cannot be read, in the order of the names."""

    def write(self, name: str, content: bytes) -> None:
        """Writes the file whole or not at all. Only one process at a time may write the same file.

        Raises:
            OSError: it cannot be written.
            UsageError: the name leads out of the folder.
        """

    def delete(self, name: str) -> None:
        """Deletes a file, or a folder and all that is in it; or nothing, where there is none."""

    def modified(self, name: str) -> float:
        """When the file was last written, in seconds since the epoch."""

    def hold(self, name: str) -> AbstractContextManager[Any] | None:
        """A lock of this name, held from now to its exit, or until its holder dies; None where somebody else has it."""

    def held(self, name: str) -> bool:
        """Whether somebody, this process included, holds that lock now. Nothing is written to find out."""


class Entry(NamedTuple):
    """What lies in a folder."""

    name: str  # from the results folder on
    is_folder: bool
    stamp: Hashable


class Listing(Protocol):
    """What `matching` asks a folder."""

    def entries(self, folder: str) -> Iterable[Entry]:
        """What lies in it; nothing where it is not there."""

    def entry(self, name: str) -> Entry | None:
        """One of them; None where it is not there."""


def matching(listing: Listing, pattern: str, folder: str = "") -> Iterator[Entry]:
    """The files of a folder that match, see `Folder.stamps`. Only folders that may hold some are looked into."""
    part, _, rest = pattern.partition("/")
    inside = f"{folder}/" if folder else ""
    if "*" in part:
        found: Iterable[Entry] = listing.entries(folder)
        fitting = _fitting(part)
        found = [entry for entry in found if fitting(entry.name[len(inside) :])]
    else:
        only = listing.entry(inside + part)
        found = [] if only is None else [only]
    for entry in found:
        if not rest:
            yield entry  # a folder in a file's place, too: who reads it will say so
        elif entry.is_folder:
            yield from matching(listing, rest, entry.name)


@cache
def _fitting(part: str) -> Any:
    return re.compile(("" if part.startswith(".") else r"(?!\.)") + translate(part)).match


def in_order(entries: Iterable[Entry]) -> dict[str, Hashable]:
    return {entry.name: entry.stamp for entry in sorted(entries, key=lambda entry: entry.name.split("/"))}
