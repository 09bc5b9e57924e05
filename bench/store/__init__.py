"""One JSON file per run, written once: its content (`record`), its place (`files`), how runs report (`progress`).

`checkpoints` holds the states of runs in training, `atomic` how all of it is written.
"""

from bench.store.atomic import StorageError, storing
from bench.store.checkpoints import Checkpoint
from bench.store.files import ConflictError, Store
from bench.store.progress import append_progress, read_progress
from bench.store.record import Curve, Record, SplitFacts

__all__ = [
    "Checkpoint", "ConflictError", "Curve", "Record", "SplitFacts", "StorageError", "Store", "append_progress",
    "read_progress", "storing",
]  # fmt: skip
