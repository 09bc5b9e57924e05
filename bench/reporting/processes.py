"""Processes that draw: forks of a server that has imported what they need, once.

A fork of this process itself could inherit a lock that another thread holds, and wait for it for ever.
"""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing.context import BaseContext

WORK = "bench.reporting.drawing"


def context() -> BaseContext:
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload([WORK])
    return made


def warm_up() -> None:
    """Lets the server begin to import, which takes seconds, while this process does something else."""
    if sys.platform == "linux":
        from multiprocessing.forkserver import ensure_running

        context()
        ensure_running()
