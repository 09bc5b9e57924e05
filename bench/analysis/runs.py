"""All runs in long form, one row per run, with labels under which nothing unlike is ever pooled.

A cell is named by dataset, protocol, variant and budget. Whatever else makes runs differ shows in one of these labels:

- `common+v100`: 100 further labels were held out for validation; `common+u5000`: only 5,000 unlabelled images;
  `common (random)`: another selection of the labelled images than `balanced`;
- `fm[lr=0.3]`: overridden fields; `fm#1a2b3c4d`: what is called `fm` has several recipes or versions here, and this
  is the one of that hash; `fm (400 steps)`: the same recipe was run for several numbers of steps;
- `npz:data.npz#1a2b3c4d`: several contents go by this dataset's name; this one's hash ends so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from bench.analysis.policies import errors_of
from bench.errors import UsageError, unknown
from bench.grid.run import Run
from bench.store import Record

CELL = ["dataset", "protocol", "variant", "budget"]
COLUMNS = [
    *("id", "dataset", "protocol", "variant", "base_variant", "budget", "selection", "validation", "unlabelled"),
    *("seed", "status", "policy", "errors", "test_images", "accuracy"),
]
_HIDDEN = ["base_dataset", "dataset_hash", "recipe_hash", "steps"]


def whole_recipe(run: Run) -> Mapping[str, Any]:
    """The recipe as stored, but for its length: the resolved steps stand beside it."""
    return {name: value for name, value in run.recipe.items() if name not in ("steps", "epochs")}


def runs_frame(
    records: Iterable[Record], policy: str, identity: Callable[[Run], Mapping[str, Any]] = whole_recipe
) -> pd.DataFrame:
    """One row per run, supervised variants first, in the columns `COLUMNS`.

    Args:
        policy: one of `POLICIES`; `errors` is missing where it cannot be read off a run, and for runs that diverged
            or failed.
        identity: the part of a run's recipe that makes it another recipe. A caller that knows the variants passes
            `Recipe.identity`, so that a switch that is added later does not tell old and new runs apart.

    Raises:
        UsageError: no such policy; or two runs of one cell have the same seed.
    """
    frame = pd.DataFrame([_row(r, policy, identity) for r in records], columns=COLUMNS + _HIDDEN)
    frame = frame.astype({"errors": float, "unlabelled": "Int64"})
    frame["accuracy"] = 100 * (frame["test_images"] - frame["errors"]) / frame["test_images"].where(lambda n: n > 0)
    frame["dataset"] += _told_apart(frame, ["dataset"], "#" + frame["dataset_hash"].str[-8:])
    frame["variant"] += _told_apart(frame, CELL[:3], "#" + frame["recipe_hash"])
    frame["variant"] += _told_apart(frame, CELL, " (" + frame["steps"].astype(str) + " steps)")
    frame["baseline"] = frame["base_variant"] != "supervised"
    order = ["dataset", "protocol", "baseline", "base_variant", "variant", "budget", "seed"]
    _refuse_repeated_seeds(frame)
    return frame.sort_values(order, ignore_index=True)[[*COLUMNS, "base_dataset"]]


def select(frame: pd.DataFrame, variants: list[str] | None = None, dataset: str | None = None) -> pd.DataFrame:
    """The rows of these variants, in this order, and of this dataset; None: all of them.

    A variant goes by its name (`fm` stands for `fm[lr=0.3]`, too) or by its full label, a dataset likewise.

    Raises:
        UsageError: there are no runs of that name.
    """
    if frame.empty:  # which a table says
        return frame
    if dataset is not None:
        wanted = (frame["dataset"] == dataset) | (frame["base_dataset"] == dataset)
        if not wanted.any():
            raise unknown("dataset", dataset, {*frame["dataset"], *frame["base_dataset"]}, "(those with runs)")
        frame = frame[wanted]
    if variants is None:
        return frame
    parts = []
    for name in variants:
        wanted = (frame["variant"] == name) | (frame["base_variant"] == name)
        if not wanted.any():
            raise unknown("variant", name, {*frame["variant"], *frame["base_variant"]}, "(those with runs)")
        parts.append(frame[wanted])
    chosen = pd.concat(parts)
    return chosen[~chosen.index.duplicated()].sort_values(["dataset", "protocol"], kind="stable")


def _row(record: Record, policy: str, identity: Callable[[Run], Mapping[str, Any]]) -> dict[str, Any]:
    run = record.run
    return {
        "id": run.id,
        "dataset": run.dataset,
        "protocol": protocol_label(run),
        "variant": run.label,
        "base_variant": run.variant,
        "budget": run.budget,
        "selection": run.selection,
        "validation": run.validation,
        "unlabelled": run.unlabelled,
        "seed": run.seed,
        "status": record.status,
        "policy": policy,
        "errors": errors_of(record, policy) if record.status == "done" else None,
        "test_images": record.test_images,
        "accuracy": None,
        "base_dataset": run.dataset,
        "dataset_hash": run.dataset_hash,
        "recipe_hash": _hash([run.variant, run.version, dict(identity(run))]),
        "steps": run.steps,
    }


def protocol_label(run: Run) -> str:
    """The protocol, and what of the split is unusual: `common+v100`, `common (random)`."""
    validation = f"+v{run.validation}" if run.validation else ""
    unlabelled = f"+u{run.unlabelled}" if run.unlabelled is not None else ""
    selection = f" ({run.selection})" if run.selection != "balanced" else ""
    return run.protocol + validation + unlabelled + selection


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def _told_apart(frame: pd.DataFrame, names: list[str], mark: pd.Series[str]) -> pd.Series[str]:
    """The mark of each run that shares its names with a run of another mark, else nothing."""
    several = mark.groupby([frame[name] for name in names]).transform("nunique") > 1
    return mark.where(several, "")


def _refuse_repeated_seeds(frame: pd.DataFrame) -> None:
    """A seed counts once: two runs that differ in nothing but their ids come from two versions of the trainer."""
    twice = frame[frame.duplicated([*CELL, "seed"], keep=False)]
    if twice.empty:
        return
    first = twice.iloc[0]
    same = twice[(twice[[*CELL, "seed"]] == first[[*CELL, "seed"]]).all(axis=1)]
    cell = ", ".join(str(first[name]) for name in CELL)
    raise UsageError(
        f"seed {first['seed']} of {cell} labels is there {len(same)} times (runs {', '.join(same['id'][:5])}), as "
        "happens when the trainer has changed in between. Delete the stale runs or leave them out."
    )
