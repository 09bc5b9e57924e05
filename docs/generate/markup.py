"""Plain text as Markdown that shows it as it is."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


def plain(text: str) -> str:
    """Text in one line in which no character means anything: all but letters, digits and the harmless are entities."""
    escaped = re.sub(r"[^\w\s.,;:/%=±–—()'\"-]|_", lambda found: f"&#{ord(found[0])};", " ".join(text.split()))
    return _ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", escaped)


def inline(text: str) -> str:
    """Text with `code` between backticks, and nothing else that means anything."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one backtick is left over: an ordinary character
        return plain(text)
    return "".join(code(part) if index % 2 else _spaced(part) for index, part in enumerate(parts))


def code(text: str) -> str:
    return f"<code>{plain(text)}</code>" if text else ""


def preformatted(text: str) -> str:
    """Lines as they are."""
    return f"<pre><code>{html.escape(text)}</code></pre>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _spaced(text: str) -> str:
    """`plain`, but for the spaces at both ends, which stand beside code."""
    return " " * text[:1].isspace() + plain(text) + " " * (text[-1:].isspace() and bool(text.strip()))
