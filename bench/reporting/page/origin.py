"""When and from what the runs were made, read off their provenance: no clock, so the same runs give the same page."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bench.reporting.formats import one_line
from bench.store import Record


def origin(records: Collection[Record]) -> str:
    """One line, such as `684 runs, finished from 2026-11-20 to 2026-11-25; revision 1a2b3c; torch 2.8.0; cpu`."""
    if not records:
        return "No runs yet."
    finished = sorted({day for record in records if (day := _text(record.provenance.get("finished"))[:10])})
    parts = [f"{len(records)} run{'s' * (len(records) > 1)}" + _span(finished)]
    newest = sorted(records, key=lambda record: (_text(record.provenance.get("finished")), record.id), reverse=True)
    revisions = _distinct(record.provenance.get("git") or record.provenance.get("source") for record in newest)
    if revisions:
        more = f" and {len(revisions) - 1} earlier" if len(revisions) > 1 else ""
        parts.append(f"revision {revisions[0]}{more}")
    for package in ("ssgan-bench", "torch"):
        versions = _distinct(_packages(record).get(package) for record in newest)
        parts += [f"{package} {', '.join(versions)}"] if versions else []
    parts += (
        [", ".join(devices)] if (devices := _distinct(record.provenance.get("device") for record in newest)) else []
    )
    return "; ".join(parts)


def _span(days: list[str]) -> str:
    if not days:
        return ""
    return f", finished on {days[0]}" if days[0] == days[-1] else f", finished from {days[0]} to {days[-1]}"


def _packages(record: Record) -> dict[str, Any]:
    packages = record.provenance.get("packages")
    return packages if isinstance(packages, dict) else {}


def _distinct(values: Any) -> list[str]:
    """Each text once, in order; missing ones left out."""
    return list(dict.fromkeys(text for value in values if (text := _text(value))))


def _text(value: Any) -> str:
    return one_line(value) if isinstance(value, str) else ""
