"""Which kind of place a results folder is: what a path or an address means."""

from __future__ import annotations

import re

from bench.store.folder import Folder
from bench.store.local import LocalFolder


def is_remote(root: object) -> bool:
    """Whether a results folder is named by an address (`s3://bucket/runs`) rather than by a path."""
    return re.match(r"(?!file://)[A-Za-z][A-Za-z0-9+.-]*://", str(root)) is not None


def open_folder(root: object) -> Folder:
    """The folder of a path or an address.

    Raises:
        UsageError: an address of a kind that nothing installed here understands.
    """
    if is_remote(root):
        from bench.store.remote import RemoteFolder  # fsspec: a slow import that few need

        return RemoteFolder(str(root))
    return LocalFolder(str(root).removeprefix("file://"))
