"""One JSON file per run, written once: its content (`record`), its place (`files`), how runs report (`progress`)."""

from bench.store.files import ConflictError, Store
from bench.store.progress import append_progress, read_progress
from bench.store.record import Curve, Record, SplitFacts

__all__ = ["ConflictError", "Curve", "Record", "SplitFacts", "Store", "append_progress", "read_progress"]
