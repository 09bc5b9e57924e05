"""A benchmark of semi-supervised GANs that people can trust.

Importing the package fixes how Intel's MKL rounds, which must happen before torch is imported: in its strict mode the
result of a matrix product depends neither on memory alignment nor on how many products are stacked, so that a run has
the same bits alone and in any cohort.
"""

import os
import pathlib

__version__ = "0.1.0"


def _widest_strict_mode() -> str:
    """MKL's strict mode for the widest vectors of this processor (AVX2 where that cannot be read off)."""
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    return "AVX512,STRICT" if "avx512f" in flags and "GenuineIntel" in flags else "AVX2,STRICT"


os.environ.setdefault("MKL_CBWR", _widest_strict_mode())
