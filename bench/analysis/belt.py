"""Two circles: how many generated points lie between the rings, and where the classifier draws its boundary."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

INNER, MIDDLE, OUTER = 0.5, 0.75, 1.0  # radii of the rings and between them
BELT = (0.62, 0.88)
RAYS, POINTS = 360, 101


def belt_share(points: Tensor) -> float:
    """The share of points `[n, 2]` whose distance from the origin lies in `BELT`."""
    radius = points.norm(dim=1)
    return float(((radius >= BELT[0]) & (radius <= BELT[1])).float().mean())


def boundary_distance(classes: Tensor, extent: float, inner: int) -> float:
    """The mean over directions of |boundary - MIDDLE|, between 0 and half the gap.

    On the way from the inner to the outer ring the boundary is where the ray leaves what is classified `inner`: INNER
    plus the length of the ray that is. A ray all of one class counts as 0.25.

    Args:
        classes: `[mesh, mesh]` answers on a square from -`extent` to `extent`, rows from below.
    """
    answers = classes.numpy()
    angle = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)[:, None]
    radius = np.linspace(INNER, OUTER, POINTS)[None, :]
    cell = 2 * extent / (len(answers) - 1)
    column, row = (np.rint((r + extent) / cell).astype(int) for r in (radius * np.cos(angle), radius * np.sin(angle)))
    boundary = INNER + (OUTER - INNER) * (answers[row, column] == inner).mean(1)
    return float(np.abs(boundary - MIDDLE).mean())


def measure(samples: Mapping[str, Tensor], inner: int) -> dict[str, float]:
    """Both numbers of a run's last samples; `belt` is missing where nothing is generated."""
    distance = boundary_distance(samples["classes"][-1], float(samples["extent"]), inner)
    share = belt_share(samples["images"][-1]) if "images" in samples else float("nan")
    return {"belt": 100 * share, "distance": distance}
