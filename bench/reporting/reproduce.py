"""The command line that makes a stored run again."""

from __future__ import annotations

import json
import shlex
from typing import Any

from bench.store import Record


def command(record: Record) -> str:
    """The command line that makes this one run again, quoted for a shell."""
    run, origin = record.run, record.provenance.get("origin")
    origin = origin if isinstance(origin, dict) else {}  # a file from elsewhere may hold anything there
    protocol, _, schedule = run.protocol.partition("@")
    words: list[Any] = ["bench", "run", "--variants", run.variant, "--dataset", origin.get("dataset", run.dataset)]
    words += ["--labels", str(run.budget), "--seeds", f"{run.seed}-{run.seed}", "--protocol", protocol]
    if schedule:
        words += ["--steps", str(run.steps)]
    if run.selection != "balanced":
        words += ["--label-selection", origin.get("index_file") or run.selection]
    if run.validation:
        words += ["--validation", str(run.validation)]
    if run.unlabelled is not None:
        words += ["--unlabelled", str(run.unlabelled)]
    if origin.get("image_size"):
        words += ["--image-size", str(origin["image_size"])]
    if run.precision is not None:
        words += ["--precision", run.precision]
    for plugin in origin.get("plugins") or []:
        words += ["--plugin", plugin]
    for name, value in run.overrides.items():
        words += ["--set", f"{run.variant}.{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(map(str, words))
