"""Datasets: where images come from, which of their labels a run may see, and who compares predictions with the rest."""

from bench.datasets.dataset import Dataset
from bench.datasets.firewall import Examiner, FirewallError, LabelledSet, LabelVault, spread
from bench.datasets.selections import parse_budgets, read_index_file, selection_name
from bench.datasets.sources import Outline, describe, load, names, outline
from bench.datasets.splits import Split, make_split

__all__ = [
    "Dataset",
    "Examiner",
    "FirewallError",
    "LabelVault",
    "LabelledSet",
    "Outline",
    "Split",
    "describe",
    "load",
    "make_split",
    "names",
    "outline",
    "parse_budgets",
    "read_index_file",
    "selection_name",
    "spread",
]
