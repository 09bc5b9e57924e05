"""A file of reports on different subjects: a new report takes the place of the old one on its subject."""

from __future__ import annotations

import re
from pathlib import Path

HEADING = "# Speed of training on "


def title(subject: str) -> str:
    """What a report begins with."""
    return f"{HEADING}{subject}\n"


def parts(text: str) -> list[str]:
    """The reports in a file; nothing of what stands before the first."""
    return [part for part in re.split(f"(?m)^(?={HEADING})", text) if part.startswith(HEADING)]


def keep(path: Path, report: str) -> None:
    """Writes the report; those on other subjects, if the file has any, stay as they are.

    Raises:
        OSError: the file cannot be read or written.
    """
    found = parts(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else []
    first = report.partition("\n")[0]
    by_title = {part.partition("\n")[0]: part.rstrip("\n") for part in found} | {first: report.rstrip("\n")}
    path.write_text("\n\n".join(by_title.values()) + "\n", encoding="utf-8")
