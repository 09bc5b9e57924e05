"""Writing that a crash cannot spoil, and what becomes of a disk or folder that cannot be written to."""

from __future__ import annotations

import glob
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import UsageError, shorten


class StorageError(UsageError):
    """The results folder cannot be written to any more: a full disk, a folder that was deleted meanwhile."""


@contextmanager
def storing(root: Path) -> Iterator[None]:
    """Around whatever is written to a results folder while runs train.

    Raises:
        StorageError: the folder is gone (nothing makes it anew), or the system refuses to write.
    """
    saved = "What had finished before is stored, and goes on from there when the command is repeated."
    if not root.is_dir():
        raise StorageError(f"the results folder {shorten(root)!r} was deleted or moved while runs were training.")
    try:
        yield
    except OSError as error:
        raise StorageError(f"results folder {shorten(root)!r}: {error.strerror or error}. {saved}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """The file holds the whole content or is not there, whatever happens, a power cut included.

    Only one process at a time may write the same file.
    """
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.tmp"):  # by a writer that was killed
        left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself last; systems that cannot do this for folders do it on their own."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
