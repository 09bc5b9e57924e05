"""The user's words for budgets and selections: `--labels` and `--label-selection`."""

from __future__ import annotations

import hashlib
import json
import os
import re
from fractions import Fraction
from pathlib import Path

import numpy as np

from bench.datasets.firewall import Indices
from bench.errors import UsageError, shorten, unknown

SELECTIONS = ("balanced", "random", "first", "prototypes")


def parse_budgets(text: str, n_train: int) -> list[int]:
    """The label budgets of `--labels`, as integers, in the given order, each once.

    An entry is a number, `all`, or a percentage of the `n_train` labelled training images (rounded down).

    Raises:
        UsageError: the list is empty or malformed, or a budget lies outside 1..n_train.
    """
    budgets = [_budget(entry.strip(), n_train) for entry in text.split(",")]
    return list(dict.fromkeys(budgets))


def _budget(entry: str, n_train: int) -> int:
    if entry == "all":
        return n_train
    if re.fullmatch(r"[0-9]{1,18}", entry):
        budget = int(entry)
        if not 1 <= budget <= n_train:
            raise UsageError(f"--labels: {budget} labels; the training set has 1 to {n_train} to give.")
        return budget
    if re.fullmatch(r"([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})%", entry):
        return _percentage(entry, n_train)
    raise UsageError(
        f"--labels: {shorten(entry)!r} is no label budget. Allowed: a list such as 20,50,100,all or 10% "
        f"(numbers from 1 to {n_train}, percentages above 0 and up to 100, all)."
    )


def _percentage(entry: str, n_train: int) -> int:
    percent = Fraction(entry[:-1])
    if not 0 < percent <= 100:
        raise UsageError(f"--labels: {entry}; a percentage must be above 0 and at most 100.")
    budget = int(percent * n_train / 100)
    if budget < 1:
        raise UsageError(f"--labels: {entry} of {n_train} training images is less than one label.")
    return budget


def selection_name(option: str) -> tuple[str, Path | None]:
    """The selection that `--label-selection` means, as a run records it, and its index file if it has one.

    Raises:
        UsageError: neither a known selection nor a readable index file.
    """
    if option in SELECTIONS:
        return option, None
    path = Path(os.path.expanduser(option))
    if not os.path.isfile(path):  # unlike Path.is_file it accepts any text
        raise unknown("label selection", option, SELECTIONS, "Or the path of an index file.")
    read_index_file(path)
    return file_selection(path), path


def file_selection(path: Path) -> str:
    """`file:HASH`: an index file is known by its content, never by its path."""
    return "file:" + hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def read_index_file(path: Path) -> Indices:
    """Indices of training images `[n]` from a text file with one integer per line, or a JSON list of integers.

    Raises:
        UsageError: unreadable, empty, an entry that is no index, or one that comes twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = json.loads(text) if text.lstrip().startswith("[") else text.split("\n")
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"index file {shorten(path)}: {_why(error)}. {_FORMAT}") from error
    # JSON's numbers become text again so that both formats pass the same check, which refuses 1.0, true and "1"
    words = [json.dumps(e) if text.lstrip().startswith("[") else e.strip() for e in entries]
    words = [word for word in words if word]
    for word in words:
        if not re.fullmatch(r"[0-9]{1,18}", word):
            raise UsageError(f"index file {shorten(path)}: {shorten(word)!r} is no index. {_FORMAT}")
    indices = np.array([int(word) for word in words], dtype=np.int64)
    _check_list(path, indices)
    return indices


_FORMAT = "It holds one integer from 0 per line, or a JSON list of them."


def _check_list(path: Path, indices: Indices) -> None:
    if not len(indices):
        raise UsageError(f"index file {shorten(path)} is empty. {_FORMAT}")
    values, counts = np.unique(indices, return_counts=True)
    if counts.max() > 1:
        raise UsageError(f"index file {shorten(path)}: {values[counts.argmax()]} comes twice.")


def _why(error: Exception) -> str:
    return shorten(getattr(error, "strerror", None) or f"not readable as text or JSON ({type(error).__name__})")
