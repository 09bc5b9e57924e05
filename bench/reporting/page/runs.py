"""What the page knows of each run, as JSON: facts, recipe, provenance, curve, samples, the command that repeats it.

Many runs share a recipe, a provenance and the steps of their evaluations: each such thing is stored once, on a shelf,
and runs hold its place there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.errors import UsageError, printable, shorten
from bench.reporting.formats import one_line
from bench.reporting.material import Material
from bench.reporting.page.numbers import significant
from bench.reporting.page.parts import png_uri
from bench.reporting.reproduce import command
from bench.store import Curve, Record, Store, beside

DIGITS = 4  # significant ones, of what is drawn
LOSSES = 60  # points of a loss, at most
LONGEST = 4000  # characters of one value
PNG = b"\x89PNG\r\n\x1a\n"

# What can be left out of a page that gets too large, in this order: a word for it, and the keys of runs that go.
OMISSIONS: Mapping[str, tuple[str, ...]] = {
    "the losses of runs": ("losses",),
    "the samples of runs": ("sample",),
    "the curves of runs": ("curve",),
    "the details of runs": ("facts", "recipe", "changed", "provenance", "command", "reason"),
}


class Shelf:
    """Values of JSON, each stored once."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._places: dict[str, int] = {}

    def put(self, value: Any) -> int:
        """The place of the value."""
        key = json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self.items)
            self.items.append(value)
        return self._places[key]


def run_data(material: Material, values: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`runs`, in the order of the frame, and the shelves that they point to.

    Args:
        values: from `run_values`.
        tables: from `tables`; a run's `cell` is its (table, variant, budget) there.
    """
    recipes, provenances, steps = Shelf(), Shelf(), Shelf()
    runs = []
    for (table, (_, _, part)), shown in zip(enumerate(material.groups()), tables, strict=True):
        variants = list(part.frame["variant"].drop_duplicates())
        for _, row in part.frame.iterrows():
            record = material.records[row["id"]]
            cell = [table, variants.index(row["variant"]), shown["budgets"].index(row["budget"])]
            seen = {"id": record.id, "cell": cell, "seed": record.run.seed, "status": record.status}
            runs.append(seen | {"values": values[record.id]} | _details(record, recipes, provenances))
            runs[-1] |= _curve(record, steps) | _sample(material.store, record)
    return {"runs": runs, "recipes": recipes.items, "provenances": provenances.items, "steps": steps.items}


def _details(record: Record, recipes: Shelf, provenances: Shelf) -> dict[str, Any]:
    return {
        "reason": _reason(record),
        "facts": _facts(record),
        "recipe": recipes.put(_pairs(record.run.recipe)),
        "changed": [one_line(field) for field in record.run.overrides],
        "provenance": provenances.put(_pairs(record.provenance)),
        "command": one_line(command(record)),
    }


def leave_out(data: dict[str, Any], omission: str) -> bool:
    """Takes one of `OMISSIONS` out of the runs, with what they alone point to; whether there was any of it."""
    found = False
    for run in data["runs"]:
        for key in OMISSIONS[omission]:
            found |= run.pop(key, None) is not None
    if "curve" in OMISSIONS[omission]:
        data["steps"] = []
    if "recipe" in OMISSIONS[omission]:
        data.update(recipes=[], provenances=[])
    return found


def _reason(record: Record) -> str:
    diverged = f"at step {record.diverged_at}" if record.diverged_at is not None else ""
    return shorten(": ".join(filter(None, [diverged, one_line(record.reason)])), LONGEST)


def _facts(record: Record) -> list[list[str]]:
    run, split = record.run, record.split
    facts: dict[str, Any] = {
        "dataset": f"{run.dataset} (content {run.dataset_hash[:12]})",
        "variant": f"{run.variant}, version {run.version}",
        "protocol": run.protocol,
        "labels": f"{run.budget}, selection {run.selection}",
        "seed": run.seed,
        "steps": run.steps,
    }
    if split is not None:
        facts["labels touched"] = f"{split.labels_touched} of {split.labelled} (index list {split.labelled_hash[:12]})"
        facts["unlabelled images"] = split.unlabelled
        facts["validation images"] = split.validation
    facts["test images"] = record.test_images
    facts["evaluated weights"] = "moving average" if record.accuracy_of == "ema" else "as trained"
    return [[name, shorten(one_line(str(value)), LONGEST)] for name, value in facts.items()]


def _pairs(values: Mapping[str, Any], prefix: str = "") -> list[list[str]]:
    """Names and texts; what is nested gets dotted names."""
    pairs: list[list[str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            pairs += _pairs(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            pairs.append([one_line(prefix + name), shorten(printable(text), LONGEST)])
    return pairs


def _curve(record: Record, steps: Shelf) -> dict[str, Any]:
    """Test errors in percent, and the losses, each `[evaluations]` with the place of its steps."""
    curve = record.curve
    if curve is None or not curve.steps or not record.test_images:
        return {}
    errors = {"as trained": curve.raw} | ({"moving average": curve.ema} if curve.ema is not None else {})
    drawn: dict[str, Any] = {
        "steps": steps.put(curve.steps),
        "main": "moving average" if record.accuracy_of == "ema" else "as trained",
        "errors": {
            name: [significant(100 * wrong / record.test_images, DIGITS) for wrong in counts]
            for name, counts in errors.items()
        },
    }
    return {"curve": drawn, **_losses(curve, steps)}


def _losses(curve: Curve, steps: Shelf) -> dict[str, Any]:
    kept = thinned(len(curve.steps), LOSSES)
    losses = {
        one_line(name.removesuffix("/loss")): [significant(values[index], DIGITS) for index in kept]
        for name, values in curve.logs.items()
        if name.endswith("/loss")
    }
    return {"losses": {"steps": steps.put([curve.steps[i] for i in kept]), "values": losses}} if losses else {}


def thinned(length: int, most: int) -> list[int]:
    """Evenly spread places in a list, the first and the last among them, `most` of them or all."""
    if length <= most:
        return list(range(length))
    return [round(index * (length - 1) / (most - 1)) for index in range(most)]


def _sample(store: Store, record: Record) -> dict[str, str]:
    """The picture beside the run's file, where there is one."""
    try:
        data = store.folder.read(beside(store.name(record.run), f"{record.id}.samples.png"))
    except (OSError, UsageError):
        return {}
    return {"sample": png_uri(data)} if data.startswith(PNG) else {}
