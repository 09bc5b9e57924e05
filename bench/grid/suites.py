"""Suites: YAML files that name grids. Each key is an option of `bench run`, and three texts say what the suite is.

Some keys are a suite's own: `rows` gives recipes names of their own (a variant and fields, or another row and what
differs from it), `parts` lists several grids, each with the keys that differ from those of the whole, and `layouts`
names the layouts of `bench table` that the suite's runs fill. `results` is the folder of its runs, where `--results`
names no other.

`pieces: true` is for a suite that is done in many calls. Its parts are done in order, one after the other, each
judged beside the published numbers as soon as it is there; with `--time-limit` a part is begun only if it can finish
within this call. In such a suite `scale: fit` is the longest schedule that fits into a call, and `speed: FILE.md` a
report of `bench speed` that is made before the first part, and `report: FILE.md` what is known after each: the tables
of the layouts and the verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from bench.errors import UsageError, shorten, unknown
from bench.grid.options import parse_value, read_yaml
from bench.grid.plan import Row

KEYS = (
    "variants", "dataset", "labels", "label_selection", "seeds", "protocol", "set", "steps", "scale", "validation",
    "unlabelled", "image_size",
)  # fmt: skip
TEXTS = ("about", "source", "deviations")
OWN_KEYS = ("rows", "parts", "layouts", "results", "pieces", "speed", "report")
FIT = "fit"  # a scale: the longest schedule that fits into one call
NUMBERS = ("steps", "validation", "unlabelled", "scale", "image_size")


@dataclass(frozen=True)
class Suite:
    """The options of each grid, by name with underscores, and the rows that the grids may name."""

    parts: tuple[dict[str, Any], ...]
    rows: Mapping[str, Row]
    layouts: tuple[str, ...] = ()
    results: str | None = None
    pieces: bool = False
    speed: Path | None = None  # where the report of `bench speed` goes
    report: Path | None = None  # where the tables and verdicts go


def folder() -> Path:
    return Path(str(files("bench") / "suites"))


def names() -> list[str]:
    return sorted(path.stem for path in folder().glob("*.yaml"))


def load(name: str) -> Suite:
    """The suite of that name, or in that file.

    Raises:
        UsageError: unknown suite, unreadable file, unknown key, a value of a wrong type.
    """
    return parse(read(name), Path(name).name)


def read(name: str) -> dict[str, Any]:
    """What a suite's file holds.

    Raises:
        UsageError: unknown suite, unreadable file.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder() / f"{name}.yaml"
    if not name.endswith((".yaml", ".yml")) and name not in names():
        raise unknown("suite", name, names(), "Or the path of a .yaml file.")
    return read_yaml(path, "--suite")


def parse(content: Mapping[str, Any], name: str) -> Suite:
    """What a suite's file holds, understood; lists become comma-separated text, as typed.

    Raises:
        UsageError: unknown key, a value of a wrong type.
    """
    options = {key: value for key, value in content.items() if key not in OWN_KEYS}
    rows, parts = _rows(name, content.get("rows", {})), content.get("parts", [{}])
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise UsageError(f"--suite {shorten(name)}: parts must be a list of mappings of options.")
    layouts = content.get("layouts", [])
    if not isinstance(layouts, list) or not all(isinstance(layout, str) for layout in layouts):
        raise UsageError(f"--suite {shorten(name)}: layouts must be a list of names.")
    whole = _options(name, options)
    found = tuple({**whole, **_options(name, part, texts=())} for part in parts)
    results, speed, report = (_text(name, content, key) for key in ("results", "speed", "report"))
    pieces = content.get("pieces", False)
    if not isinstance(pieces, bool):
        raise UsageError(f"--suite {shorten(name)}: pieces must be true or false.")
    if not pieces and (speed or report or any(part.get("scale") == FIT for part in found)):
        raise UsageError(f"--suite {shorten(name)}: speed, report, and the scale fit, need `pieces: true`.")
    return Suite(
        found, rows, tuple(layouts), results, pieces, Path(speed) if speed else None, Path(report) if report else None
    )


def about(name: str) -> str:
    """What the suite says of itself, on one line."""
    return " ".join(str(read_yaml(folder() / f"{name}.yaml", "--suite").get("about", "")).split())


def _text(suite: str, content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    if value is not None and not (isinstance(value, str) and value):
        raise UsageError(f"--suite {shorten(suite)}: {key} must be the name of a file or folder.")
    return value


def _rows(suite: str, content: Any) -> dict[str, Row]:
    """Rows by name; one that is `like` an earlier row takes over its variant and fields."""
    rows: dict[str, Row] = {}
    for name, given in content.items() if isinstance(content, dict) else [("rows", None)]:
        row = given if isinstance(given, dict) else {}
        base = rows.get(str(row.get("like")), Row(str(row.get("variant", ""))))
        fields = row.get("set", {})
        if set(row) - {"variant", "like", "set"} or not base.variant or not isinstance(fields, dict):
            raise UsageError(
                f"--suite {shorten(suite)}: row {shorten(name)!r} must hold `variant`, or `like` and the name of a row "
                "above it, and may hold `set` with recipe fields."
            )
        rows[name] = Row(base.variant, {**base.fields, **{field: parse_value(v) for field, v in fields.items()}})
    return rows


def _options(suite: str, content: Mapping[str, Any], texts: tuple[str, ...] = TEXTS) -> dict[str, Any]:
    for key in content:
        if key not in KEYS + texts:
            raise unknown(f"key of suite {shorten(suite)}", str(key), (*KEYS, *texts, *OWN_KEYS))
    return {key: _option(suite, key, value) for key, value in content.items() if key in KEYS}


def _option(suite: str, key: str, value: Any) -> Any:
    if key == "scale" and value == FIT:
        return value
    if key in NUMBERS:
        number = parse_value(value)
        allowed = (int, float) if key == "scale" else (int,)
        if isinstance(number, bool) or not isinstance(number, allowed):
            raise UsageError(f"--suite {shorten(suite)}: {key} must be a number, not {value!r}.")
        return number
    if key == "set":
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise UsageError(f"--suite {shorten(suite)}: set must be a list of VARIANT.FIELD=VALUE texts.")
        return value
    parts = value if isinstance(value, list) else [value]
    if not parts or any(isinstance(part, bool) or not isinstance(part, (str, int)) for part in parts):
        raise UsageError(f"--suite {shorten(suite)}: {key} must be text, a number, or a list of them, not {value!r}.")
    if key == "seeds" and isinstance(value, list) and len(parts) == 1 and isinstance(parts[0], int):
        return f"{parts[0]}-{parts[0]}"  # a list of one seed; as text it would be a count
    return ",".join(str(part) for part in parts)
