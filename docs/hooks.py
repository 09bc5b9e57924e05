"""What happens while mkdocs builds the documentation: pages and tables are made from the code and its data.

Nothing that the code knows is written twice: `<!-- generate: NAME -->` in a page is replaced by a generated part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from generate import methods, papers

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"
PARTS: Mapping[str, Callable[[], str]] = {
    "methods": methods.overview,
    "suites": papers.suite_sections,
    "published": lambda: papers.published_tables(REFERENCE),
    "published-counts": papers.counts,
}


def on_config(config: Any) -> Any:
    """Puts the pages of the methods into the navigation, after the overview."""
    section = next(item["Methods"] for item in config.nav if "Methods" in item)
    section += [f"methods/{name}.md" for name in methods.names()]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages of the methods."""
    from mkdocs.structure.files import File

    for path, text in methods.pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fills in the generated parts."""
    return re.sub(r"<!-- generate: ([\w-]+) -->", lambda found: PARTS[found[1]](), markdown)
