"""Results in a folder of this machine, or of a disk that several machines share."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import uuid
from collections.abc import Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.errors import UsageError, shorten
from bench.store.folder import Entry, StorageError, in_order, matching


class LocalFolder:
    """See `Folder`. Links that lead out of it are refused."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.shown = str(self.root)

    def exists(self) -> bool:
        return os.path.isdir(self.root)  # unlike Path.is_dir it accepts any text

    def make(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)

    def writable(self) -> None:
        made: list[Path] = []
        try:
            for folder in (*reversed(self.root.parents), self.root):
                if not folder.exists():
                    folder.mkdir()
                    made.append(folder)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(
                f"--results: cannot write to {shorten(self.root)!r}: {why}. Name a folder that you may write to."
            ) from None
        finally:
            for folder in reversed(made):
                with contextlib.suppress(OSError):  # somebody else has put something into it meanwhile
                    folder.rmdir()

    @contextmanager
    def storing(self) -> Iterator[None]:
        saved = "What had finished before is stored, and goes on from there when the command is repeated."
        if not self.exists():
            raise StorageError(f"the results folder {shorten(self.root)!r} was deleted or moved while runs trained.")
        try:
            yield
        except OSError as error:
            text = f"results folder {shorten(self.root)!r}: {error.strerror or error}. {saved}"
            raise StorageError(text) from error

    def stamps(self, pattern: str) -> dict[str, Hashable]:
        return in_order(matching(self, pattern))

    def entries(self, folder: str) -> Iterator[Entry]:
        try:
            found = os.scandir(self.path(folder) if folder else self.root)
        except (FileNotFoundError, NotADirectoryError):
            return
        with found:
            for own in found:
                name = f"{folder}/{own.name}" if folder else own.name
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    yield Entry(name, own.is_dir(), _stamp(own.stat(follow_symlinks=not own.is_symlink())))

    def entry(self, name: str) -> Entry | None:
        path = self.path(name)
        try:
            return Entry(name, path.is_dir(), _stamp(path.lstat()))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, name: str, start: int = 0, most: int | None = None) -> bytes:
        with open(self.path(name), "rb") as file:
            file.seek(start)
            return file.read(-1 if most is None else most)

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | OSError]]:
        for name in names:
            try:
                yield name, self.read(name)
            except OSError as error:
                yield name, error

    def write(self, name: str, content: bytes) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

    def append(self, name: str, line: bytes) -> None:
        """Adds a line to a file that others read meanwhile, in a single write: lines of several writers never mix."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            if not _ends_a_line(file.fileno()):  # a writer was killed in the middle of a line: leave that one behind
                line = b"\n" + line
            file.write(line)

    def delete(self, name: str) -> None:
        path = self.path(name)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def modified(self, name: str) -> float:
        return self.path(name).stat().st_mtime

    def hold(self, name: str) -> AbstractContextManager[Any] | None:
        lock = self._lock(name)
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            return FileLock(lock).acquire(timeout=0)
        except Timeout:
            return None

    def held(self, name: str) -> bool:
        lock = self._lock(name)
        if not lock.exists():
            return False
        try:
            FileLock(lock).acquire(timeout=0).lock.release()
        except Timeout:
            return True
        except OSError:  # a folder that may only be read: nobody trains there
            return False
        return False

    def _lock(self, name: str) -> Path:
        return self.path(f".locks/{name}.lock")

    def path(self, name: str) -> Path:
        """The file's path.

        Raises:
            UsageError: it leads out of the folder.
        """
        parts, path = name.split("/"), str(self.root)  # text, as this is done for each of thousands of files
        if not all(part.strip(".") for part in parts):
            raise ValueError(f"{name!r} names no file inside a folder")
        for part in parts:
            path = f"{path}/{part}"
            if os.path.islink(path) and not Path(path).resolve().is_relative_to(self.root.resolve()):
                raise UsageError(
                    f"{shorten(path, 300)} is a link that leads out of the results folder. "
                    "Delete the link, and copy to its place what it leads to."
                )
        return Path(path)


def _stamp(found: os.stat_result) -> Hashable:
    return found.st_mtime_ns, found.st_size


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


def _ends_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return True
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"
