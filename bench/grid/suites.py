"""Suites: YAML files that name a grid. Each key is an option of `bench run`; `about` says what the suite is."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from bench.errors import UsageError, unknown
from bench.grid.options import parse_value, read_yaml

KEYS = (
    "variants", "dataset", "labels", "label_selection", "seeds", "protocol", "set",
    "steps", "scale", "validation", "unlabelled",
)  # fmt: skip
TEXTS = ("about", "source", "deviations")


def folder() -> Path:
    return Path(str(files("bench") / "suites"))


def names() -> list[str]:
    return sorted(path.stem for path in folder().glob("*.yaml"))


def load(name: str) -> dict[str, Any]:
    """The options that a suite sets, by name with underscores; lists become comma-separated text, as typed.

    Raises:
        UsageError: unknown suite, unreadable file, unknown key, a value of a wrong type.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder() / f"{name}.yaml"
    if not name.endswith((".yaml", ".yml")) and name not in names():
        raise unknown("suite", name, names(), "Or the path of a .yaml file.")
    content = read_yaml(path, "--suite")
    for key in content:
        if key not in KEYS + TEXTS:
            raise unknown(f"key of suite {path.name}", key, KEYS + TEXTS)
    return {key: _option(path, key, value) for key, value in content.items() if key in KEYS}


def about(name: str) -> str:
    """What the suite says of itself, on one line."""
    return " ".join(str(read_yaml(folder() / f"{name}.yaml", "--suite").get("about", "")).split())


def _option(path: Path, key: str, value: Any) -> Any:
    if key in ("steps", "validation", "unlabelled", "scale"):
        number = parse_value(value)
        allowed = (int, float) if key == "scale" else (int,)
        if isinstance(number, bool) or not isinstance(number, allowed):
            raise UsageError(f"--suite {path.name}: {key} must be a number, not {value!r}.")
        return number
    if key == "set":
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise UsageError(f"--suite {path.name}: set must be a list of VARIANT.FIELD=VALUE texts.")
        return value
    parts = value if isinstance(value, list) else [value]
    if not parts or any(isinstance(part, bool) or not isinstance(part, (str, int)) for part in parts):
        raise UsageError(f"--suite {path.name}: {key} must be text, a number, or a list of them, not {value!r}.")
    if key == "seeds" and isinstance(value, list) and len(parts) == 1 and isinstance(parts[0], int):
        return f"{parts[0]}-{parts[0]}"  # a list of one seed; as text it would be a count
    return ",".join(str(part) for part in parts)
