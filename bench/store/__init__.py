"""One JSON file per run, written once: its content (`record`), its place (`files`), how runs report (`journal`).

`folder` says what a place must be able to do, `local` and `remote` are the two kinds of them, and `place` tells which
one is meant; `checkpoints` holds the states of runs in training.
"""

from bench.store.checkpoints import Checkpoint
from bench.store.files import ConflictError, Standing, Store, beside
from bench.store.folder import StorageError
from bench.store.journal import Journal
from bench.store.place import is_remote
from bench.store.record import Curve, Record, SplitFacts

__all__ = [
    "Checkpoint", "ConflictError", "Curve", "Journal", "Record", "SplitFacts", "Standing", "StorageError", "Store",
    "beside", "is_remote",
]  # fmt: skip
