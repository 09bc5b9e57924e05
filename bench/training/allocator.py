"""How the C library gives back memory, which costs a training step more than it seems."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's malloc.h


@cache
def keep_freed_memory() -> None:
    """Lets this process keep what it has freed, where the C library is glibc.

    A step frees its intermediate results and soon needs the same again. By default glibc returns large pieces to the
    system each time, and every page has to be cleared and mapped anew: a tenth of a step of 15 small stacked runs.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)  # older versions allow no more
        mallopt(_TRIM_THRESHOLD, 2**30)
