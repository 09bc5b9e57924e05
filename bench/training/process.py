"""How a process is set up for training on a CPU."""

from __future__ import annotations

import ctypes
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt


def prepare_process() -> None:
    """One thread, so that a run's bits do not depend on the machine, and freed memory is kept for the next step.

    By default glibc gives large blocks back to the system when they are freed, and every step then pays for fresh,
    zeroed pages: 10 to 15 % of a step on MNIST-sized networks.
    """
    torch.set_num_threads(1)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**30)
