"""Files of a dataset in the data folder: checked if they are there, downloaded if they are not."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError, shorten

TIMEOUT = 60.0  # seconds without an answer after which a host counts as not reachable


@dataclass(frozen=True)
class Download:
    """What a dataset needs in the data folder, and how torchvision gets it."""

    dataset: str
    megabytes: int
    host: str
    files: Mapping[str, str]  # path inside the data folder -> md5
    fetch: Callable[[Path], object]  # leaves `files` below the folder that it is given


def obtain(download: Download, data_root: Path, announce: Callable[[str], None]) -> None:
    """Makes sure that all files lie in `data_root` unharmed. Says so before it downloads anything.

    A download goes to a temporary folder first, so that a broken one leaves nothing behind.

    Raises:
        UsageError: a file has the wrong checksum, or the download failed.
    """
    missing = [name for name, md5 in download.files.items() if not _present(data_root / name, md5)]
    if not missing:
        return
    announce(
        f"{download.dataset}: downloading about {download.megabytes} MB from {download.host} "
        f"to {shorten(data_root, 200)}"
    )
    try:
        with _new_folder(data_root), tempfile.TemporaryDirectory(prefix=".download-", dir=data_root) as scratch:
            _fetch(download, Path(scratch))
            for name in missing:
                (data_root / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(scratch, name), data_root / name)
    except Exception as error:  # whatever a broken transfer, archive or folder raises
        raise UsageError(
            f"{download.dataset}: the download from {download.host} failed ({shorten(error, 500)}). "
            f"Put these files into the data folder {shorten(data_root, 200)} by hand: {', '.join(download.files)}. "
            "The option --data or the environment variable BENCH_DATA names another data folder."
        ) from error


def _present(path: Path, md5: str) -> bool:
    """Whether the file is there; if so, its checksum must be right."""
    from torchvision.datasets.utils import check_integrity

    try:
        if not path.exists():
            return False
        unharmed = check_integrity(path, md5)
    except OSError as error:
        raise UsageError(f"{shorten(path, 300)}: cannot be read ({error.strerror}).") from error
    if not unharmed:
        raise UsageError(
            f"{shorten(path, 300)}: wrong checksum, it is not the official file (md5 {md5}). "
            "Delete it to have it downloaded again, or put an unharmed copy there."
        )
    return True


def _fetch(download: Download, scratch: Path) -> None:
    """Downloads into `scratch`; torchvision's own messages go to stderr, where they cannot mix with results."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            download.fetch(scratch)
    finally:
        socket.setdefaulttimeout(before)
    for name, md5 in download.files.items():
        if not _present(scratch / name, md5):
            raise FileNotFoundError(f"the download holds no {name}")


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Makes a folder with its parents, and removes what it made if the block fails."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in made:
            with contextlib.suppress(OSError):  # not empty: something else has come to use it
                path.rmdir()
        raise
