"""Where datasets lie when nobody says."""

from __future__ import annotations

import os
from pathlib import Path


def default_data() -> Path:
    """The data root: BENCH_DATA, else a folder in the user's cache."""
    return Path(os.environ.get("BENCH_DATA") or Path.home() / ".cache" / "ssgan-bench")
