"""What the page takes as it is given: pictures, and tables in the layout of a paper."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from urllib.parse import quote

from PIL import Image


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        group: the dataset and protocol that it is of, as `digits, common`; any other text is shown as it is.
    """

    title: str
    caption: str
    group: str
    data: bytes
    kind: Literal["svg", "png"]

    @cached_property
    def uri(self) -> str:
        return smallest_uri(self.data) if self.kind == "png" else svg_uri(self.data)

    @cached_property
    def size(self) -> tuple[float, float] | None:
        """Width and height, in any unit, so that the page keeps room before it draws; None: an SVG does not say."""
        if self.kind == "png":
            with Image.open(io.BytesIO(self.data)) as image:
                return image.size
        found = re.search(rb'<svg[^>]*? viewBox="0 0 ([\d.]+) ([\d.]+)"', self.data)
        return (float(found[1]), float(found[2])) if found else None


@dataclass(frozen=True)
class LayoutTable:
    """A table whose `html` is already escaped."""

    title: str
    html: str


def png_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def smallest_uri(png: bytes) -> str:
    """The same pixels as WebP, which takes less than half of the room for a plot; as PNG where it does not."""
    content = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.save(content, "WEBP", lossless=True, exact=True, method=2)
    webp = content.getvalue()
    return png_uri(png) if len(png) <= len(webp) else f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def svg_uri(data: bytes) -> str:
    """Percent-encoded: smaller than base64, as nearly all of a drawing is digits, letters and spaces.

    A line's end would take three characters, and is no more than a space to SVG.
    """
    one_line = b" ".join(data.splitlines())
    return f"data:image/svg+xml,{quote(one_line, safe=' /:=;,.()!*-_@?$')}"
