"""The belt's measures on circles whose answer is known, and the figure."""

from __future__ import annotations

import math

import pytest
import torch

from bench.analysis.belt import belt_share, boundary_distance

MESH, EXTENT = 201, 1.5


def plane(inside: object) -> torch.Tensor:
    """Classes on the mesh: 1 where `inside(radius, angle)`."""
    line = torch.linspace(-EXTENT, EXTENT, MESH)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return inside(torch.hypot(x, y), torch.atan2(y, x)).to(torch.uint8)  # type: ignore[operator]


@pytest.mark.parametrize(("radius", "distance"), [(0.75, 0.0), (0.65, 0.1), (0.9, 0.15), (0.3, 0.25), (1.3, 0.25)])
def test_a_circular_boundary(radius: float, distance: float) -> None:
    classes = plane(lambda r, angle: r < radius)
    assert boundary_distance(classes, EXTENT, inner=1) == pytest.approx(distance, abs=0.01)
    assert boundary_distance(1 - classes, EXTENT, inner=0) == pytest.approx(distance, abs=0.01)


def test_directions_are_averaged_and_rows_run_upwards() -> None:
    """Right of the axis the boundary is in the middle, on the left there is none; and only the right way round."""
    classes = plane(lambda r, angle: (r < 0.75) & (angle.abs() < math.pi / 2))
    assert boundary_distance(classes, EXTENT, inner=1) == pytest.approx(0.125, abs=0.01)
    wrong = plane(lambda r, angle: r > 0.75)  # the classes exchanged: inner outside
    assert boundary_distance(wrong, EXTENT, inner=1) == pytest.approx(0.0, abs=0.01)


def test_belt_share_counts_points_by_their_radius() -> None:
    angle = torch.rand(400) * 6
    radius = torch.tensor([0.61, 0.63, 0.87, 0.89]).repeat(100)
    points = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    assert belt_share(points) == 0.5
