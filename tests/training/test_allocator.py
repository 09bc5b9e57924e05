"""After the call, a process keeps the memory that it has freed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from bench.training.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        bytearray(b"x") * (40 * 2**20)  # more than glibc ever keeps by default
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
default = faults()
keep_freed_memory()
faults()
print(default, faults())
"""


@pytest.mark.skipif(platform.libc_ver() < ("glibc", "2.36"), reason="older versions keep only smaller pieces")
def test_pages_are_not_mapped_anew() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    default, kept = map(int, found.split())
    assert 10 * kept < default
