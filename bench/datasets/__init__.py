"""Datasets: where images come from, which of their labels a run may see, and who compares predictions with the rest."""

from bench.datasets.dataset import Dataset
from bench.datasets.firewall import Examiner, FirewallError, LabelledSet, LabelVault, spread
from bench.datasets.selections import parse_budgets, read_index_file, selection_name
from bench.datasets.sources import describe, load, names
from bench.datasets.splits import Split, make_split

__all__ = [
    "Dataset",
    "Examiner",
    "FirewallError",
    "LabelVault",
    "LabelledSet",
    "Split",
    "describe",
    "load",
    "make_split",
    "names",
    "parse_budgets",
    "read_index_file",
    "selection_name",
    "spread",
]
