"""Numbers beside points, placed so that they cover neither each other nor a point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

Place = tuple[float, float]

RADII = (8.0, 13.0, 19.0, 26.0, 34.0, 44.0)  # points (1/72 inch) from a point to the centre of its number
DIRECTIONS = 16


def place(points: Sequence[Place], width: float = 11, height: float = 9, size: float = 6) -> list[Place]:
    """Where to centre a number for each point, relative to it, as near as there is room.

    Args:
        points: in units of 1/72 inch, as everything here.
        width, height: of a number. size: of a point.
    """
    taken: list[tuple[float, float, float, float]] = [(x, y, size, size) for x, y in points]
    found: list[Place] = []
    for x, y in points:
        free = (
            (dx, dy)
            for radius, turn in itertools.product(RADII, range(DIRECTIONS))
            for dx, dy in [_at(radius, turn)]
            if not any(_overlap((x + dx, y + dy, width, height), other) for other in taken)
        )
        dx, dy = next(free, _at(RADII[-1], len(found)))
        taken.append((x + dx, y + dy, width, height))
        found.append((dx, dy))
    return found


def _at(radius: float, turn: int) -> Place:
    """Steps around a point that begin on its upper right."""
    angle = math.pi / 4 + 2 * math.pi * turn / DIRECTIONS
    return radius * math.cos(angle), radius * math.sin(angle)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Of two boxes, each by its centre, width and height."""
    return abs(a[0] - b[0]) < (a[2] + b[2]) / 2 and abs(a[1] - b[1]) < (a[3] + b[3]) / 2
