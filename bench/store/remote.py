"""Results in an object store, or wherever else fsspec can read and write: `s3://bucket/runs`, `gs://bucket/runs`.

Credentials and endpoints are found as each store's own tools find them: in the environment, in files of the home.
There are no locks: whoever trains there is to be told what to train by one scheduler.
"""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import fsspec

from bench.errors import UsageError, printable, shorten
from bench.store.folder import Entry, StorageError, in_order, matching

TELL_TALES = ("ETag", "etag", "mtime", "LastModified", "created", "size")  # whatever of these a store knows of a file
AT_ONCE = 500  # files that are asked for together


class UnreachableError(StorageError, OSError):
    """The store does not answer, or refuses: for whoever reads a file, and for the user."""


class RemoteFolder:
    """See `Folder`."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            UsageError: no such kind of store, or its package is not installed.
        """
        self.shown = url.rstrip("/")
        try:
            # listings are never kept: others write to the same store
            self.files, self.root = fsspec.url_to_fs(self.shown, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"--results {shorten(url)!r}: {shorten(error, 200)}. For s3:// install ssgan-bench[s3], for gs:// "
                "ssgan-bench[gcs]; for a folder of this machine, name its path."
            ) from error

    def exists(self) -> bool:
        with _translated(self.shown):
            return bool(self.files.exists(self.root))

    def make(self) -> None:
        """Nothing: names in an object store need no folder."""

    def writable(self) -> None:
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"")
            self.delete(probe)
        except OSError as error:
            raise UsageError(
                f"--results: cannot write to {shorten(self.shown)!r}: {printable(shorten(error, 300))}. Check the "
                "address, and that your credentials allow to write there."
            ) from error

    @contextmanager
    def storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"results in {shorten(self.shown)!r}: {printable(shorten(error, 300))}. What had finished before is "
                "stored, and goes on from there when the command is repeated."
            ) from error

    def stamps(self, pattern: str) -> dict[str, Hashable]:
        return in_order(matching(self, pattern))

    def entries(self, folder: str) -> Iterator[Entry]:
        path = f"{self.root}/{folder}".rstrip("/")
        try:
            with _translated(self.shown):
                found = self.files.ls(path, detail=True)
        except FileNotFoundError:
            return
        for info in found:
            if info["name"].rstrip("/") != path:  # some stores list the folder among its contents
                yield self._entry(info)

    def entry(self, name: str) -> Entry | None:
        try:
            with _translated(self.shown):
                return self._entry(self.files.info(self._path(name)))
        except FileNotFoundError:
            return None

    def _entry(self, info: Mapping[str, Any]) -> Entry:
        stamp = tuple(str(info.get(key)) for key in TELL_TALES)
        return Entry(info["name"].removeprefix(self.root).strip("/"), info["type"] == "directory", stamp)

    def read(self, name: str, start: int = 0, most: int | None = None) -> bytes:
        with _translated(self.shown):
            end = None if most is None else start + most
            return bytes(self.files.cat_file(self._path(name), start=start or None, end=end))

    def read_all(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | OSError]]:
        left = list(names)
        for some in (left[start : start + AT_ONCE] for start in range(0, len(left), AT_ONCE)):
            with _translated(self.shown):
                paths = [self._path(name) for name in some]
                found = self.files.cat_ranges(paths, None, None, on_error="return")
            for name, content in zip(some, found, strict=True):
                yield name, content if isinstance(content, bytes) else OSError(str(content))

    def write(self, name: str, content: bytes) -> None:
        """Object stores show a file when all of it has arrived."""
        path = self._path(name)
        with _translated(self.shown):
            self.files.pipe_file(path, content)

    def delete(self, name: str) -> None:
        with _translated(self.shown):
            path = self._path(name)
            if self.files.exists(path):
                self.files.rm(path, recursive=True)

    def modified(self, name: str) -> float:
        with _translated(self.shown):
            return float(self.files.modified(self._path(name)).timestamp())

    def hold(self, name: str) -> AbstractContextManager[Any] | None:
        return nullcontext()

    def held(self, name: str) -> bool:
        return False

    def _path(self, name: str) -> str:
        if not all(part.strip(".") for part in name.split("/")):
            raise ValueError(f"{name!r} names no file inside a folder")
        return f"{self.root}/{name}"


@contextmanager
def _translated(shown: str) -> Iterator[None]:
    """Whatever a store's client raises, in one kind of error; but for what says that a file is not there."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise UnreachableError(f"{shown}: {type(error).__name__}: {shorten(error, 300)}") from error
