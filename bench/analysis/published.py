"""Published numbers (`published.yaml`, which explains the keys), and our cells beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from bench.analysis.cells import t_quantile

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast
TRAIN_IMAGES = {"mnist": 60_000, "svhn": 73_257, "cifar10": 50_000}
TEST_IMAGES = {"mnist": 10_000, "svhn": 26_032, "cifar10": 10_000}
COLUMNS = [
    *("dataset", "protocol", "variant", "budget", "ours", "std", "n"),
    *("source", "method", "theirs", "spread", "spread_kind", "runs"),
    *("difference", "standard_errors", "verdict", "why"),
]


class Published(BaseModel):
    """One published number: what a method got on a dataset's test images with a label budget."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(min_length=1)
    method: str = Field(min_length=1)
    variant: str | None = None
    dataset: str
    budget: PositiveInt | Literal["all"]
    value: float
    unit: Literal["accuracy", "error", "errors"]
    spread: float | None = Field(None, gt=0)
    spread_kind: Literal["std", "se", "unknown"] = "unknown"
    runs: PositiveInt | None = None
    selection: Literal["balanced", "random", "first", "hand", "unknown"] = "unknown"
    policy: Literal["last", "best-test", "best-validation", "unknown"] = "unknown"
    quoted: bool = False
    own_implementation: bool = False
    unverified: bool = False
    comparable: bool = True
    note: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.unit == "errors" and self.dataset not in TEST_IMAGES:
            raise ValueError(f"wrong images of {self.dataset}: how many there are is not known")
        if not 0 <= self.accuracy <= 100:
            raise ValueError(f"an accuracy of {self.accuracy} %")
        if self.spread is None and self.spread_kind != "unknown":
            raise ValueError("a kind of spread without a spread")
        if self.spread is not None and self.runs == 1:
            raise ValueError("one run has no spread")
        if not self.comparable and not self.note:
            raise ValueError("the note must say why the number is not comparable")
        return self

    @property
    def accuracy(self) -> float:
        """The value as accuracy in percent."""
        return self.value if self.unit == "accuracy" else 100 - self.value * self._points

    @property
    def spread_points(self) -> float | None:
        """The spread in points of accuracy."""
        return None if self.spread is None else self.spread * self._points

    @property
    def standard_error(self) -> float | None:
        """That of the mean, in points; None where it does not follow from what was published."""
        if self.spread_points is None or self.spread_kind == "unknown":
            return None
        if self.spread_kind == "se":
            return self.spread_points
        return None if self.runs is None else self.spread_points / math.sqrt(self.runs)

    @property
    def _points(self) -> float:
        """Points of accuracy in one unit of the value."""
        return 100 / TEST_IMAGES[self.dataset] if self.unit == "errors" else 1.0


@cache
def load() -> list[Published]:
    """All published numbers, in the order of the file."""
    text = (files("bench") / "analysis" / "published.yaml").read_text(encoding="utf-8")
    return [Published(**common | row) for common in yaml.load(text, _LOADER) for row in common.pop("rows")]


def beside(cells: pd.DataFrame, published: Iterable[Published] | None = None) -> pd.DataFrame:
    """Each of our cells beside each published number of its variant, dataset and budget, in the columns `COLUMNS`.

    `ours` and `theirs` are accuracies in percent, `std`, `spread` and `difference` points of them. The `verdict` is
    `not comparable`, or what Welch's t test says at 95 %: `agrees`, `higher` or `lower`. Where the standard error of
    theirs is not known, only ours counts. `why` holds the reasons, or the test's numbers and what to bear in mind.

    Args:
        cells: from `bench.analysis.cells.cells(frame, "accuracy")`.
        published: in the place of `load()`.
    """
    entries = list(load() if published is None else published)
    rows = [_row(cell, entry) for cell in cells.to_dict("records") for entry in entries if _same(cell, entry)]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"spread": float, "runs": "Int64"})


def _same(cell: Mapping[Hashable, Any], entry: Published) -> bool:
    budget = TRAIN_IMAGES.get(entry.dataset) if entry.budget == "all" else entry.budget
    return (cell["base_variant"], cell["dataset"], cell["budget"]) == (entry.variant, entry.dataset, budget)


def _row(cell: Mapping[Hashable, Any], entry: Published) -> dict[str, Any]:
    difference = cell["mean"] - entry.accuracy
    error, freedom = _standard_error(cell, entry)
    apart = difference / error if error > 0 else math.nan
    verdict, why = "not comparable", _reasons(cell, entry)
    if not why:
        critical = t_quantile(freedom)
        verdict = "agrees" if abs(apart) <= critical else "higher" if apart > 0 else "lower"
        why = [f"{abs(apart):.2f} standard errors apart, at most {critical:.2f} agree", *_caveats(entry)]
    return {
        **{name: cell[name] for name in ("dataset", "protocol", "variant", "budget", "std", "n")},
        **{name: getattr(entry, name) for name in ("source", "method", "spread_kind", "runs")},
        "ours": cell["mean"],
        "theirs": entry.accuracy,
        "spread": entry.spread_points,
        "difference": difference,
        "standard_errors": apart,
        "verdict": verdict,
        "why": "; ".join(why),
    }


def _standard_error(cell: Mapping[Hashable, Any], entry: Published) -> tuple[float, float]:
    """The difference's, and its degrees of freedom after Welch and Satterthwaite; missing where ours do not vary.

    A standard error over an unknown number of runs counts as exact.
    """
    n = cell["n"]
    if n < 2 or not cell["std"] > 0:
        return math.nan, math.nan
    ours, theirs = cell["std"] ** 2 / n, (entry.standard_error or 0.0) ** 2
    spread = ours**2 / (n - 1) + (theirs**2 / (entry.runs - 1) if entry.runs and theirs else 0)
    return math.sqrt(ours + theirs), (ours + theirs) ** 2 / spread


def _reasons(cell: Mapping[Hashable, Any], entry: Published) -> list[str]:
    """Why the two cannot be compared; empty where they can."""
    n, failed = cell["n"], cell["failed"]
    found = {
        "our variant has another recipe": cell["variant"] != cell["base_variant"],
        "another selection of labelled images": not _selected_alike(cell["selection"], entry),
        "ours peeks at the test set": cell["policy"] == "oracle" and entry.policy != "best-test",
        f"theirs: {entry.note}": not entry.comparable,
        f"{failed} of {n + failed + cell['left_out']} runs failed or diverged": failed > 0,
        "no run to compare": n == 0,
        "one run has no spread": n == 1,
        "our runs do not vary": n > 1 and cell["std"] == 0,
    }
    return _protocol_reasons(cell["protocol"]) + [reason for reason, holds in found.items() if holds]


def _protocol_reasons(protocol: str) -> list[str]:
    """What the label of a protocol (see `bench.analysis.runs`) says about how ours differs."""
    name, at, _ = re.split(r"[+ ]", protocol)[0].partition("@")
    if name == "smoke":
        return ["smoke runs prove only that the code runs"]
    found = {
        "other networks and schedule than the paper's": name != "paper",
        "another length of training than the paper's": name == "paper" and at != "",
        "extra validation labels": "+v" in protocol,
        "fewer unlabelled images": "+u" in protocol,
    }
    return [reason for reason, holds in found.items() if holds]


def _selected_alike(ours: str, entry: Published) -> bool:
    if entry.budget == "all" or ours == entry.selection:
        return True
    if entry.selection == "hand":
        return ours == "prototypes" or ours.startswith("file:")
    return ours == "balanced" and entry.selection in ("random", "unknown")


def _caveats(entry: Published) -> list[str]:
    """What to bear in mind when a number is compared."""
    found = {
        "theirs peeks at the test set": entry.policy == "best-test",
        "theirs is the best on validation images": entry.policy == "best-validation",
        "other images were picked by hand": entry.selection == "hand",
        "their spread or number of runs is unknown": entry.standard_error is None,
        "theirs is quoted": entry.quoted,
        "theirs is not verified": entry.unverified,
    }
    return [caveat for caveat, holds in found.items() if holds]
