"""All figures of some runs, drawn by several processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from bench.reporting.figures.kinds import KINDS, Kind
from bench.reporting.figures.saving import figure_bytes
from bench.reporting.material import Material
from bench.reporting.page import Picture
from bench.reporting.processes import context

# Kinds that take long: they come first, so that no process is left with one at the end
LONGEST = ("cost", "curves", "losses", "seconds")


@dataclass(frozen=True)
class Drawn:
    """A figure of one dataset and protocol, as files by their ending."""

    kind: Kind
    dataset: str
    protocol: str
    files: Mapping[str, bytes]

    def picture(self, ending: str) -> Picture:
        kind: Literal["svg", "png"] = "svg" if ending == ".svg" else "png"
        group = f"{self.dataset}, {self.protocol}"
        return Picture(self.kind.title, self.kind.caption, group, self.files[ending], kind)


@contextmanager
def drawing(material: Material, endings: Sequence[str]) -> Iterator[Iterator[Drawn]]:
    """Begins to draw every kind of figure that there is something to draw for; gives them in the order of the runs.

    Args:
        endings: of `bench.reporting.figures.saving.FORMATS`.
    """
    groups = list(material.groups())
    places = [(index, kind) for index in range(len(groups)) for kind in KINDS]
    order = sorted(places, key=lambda place: place[1] not in LONGEST)
    jobs = min(os.cpu_count() or 1, len(places) or 1)
    with ProcessPoolExecutor(jobs, context(), _begin, (groups, endings)) as workers:
        coming = {place: workers.submit(_draw, *place) for place in order}
        yield (
            Drawn(KINDS[kind], *groups[index][:2], files)
            for index, kind in places
            if (files := coming[index, kind].result())
        )


def pictures(material: Material) -> list[Picture]:
    """The figures of a page that is only shown."""
    with drawing(material, (".png",)) as drawn:
        return [figure.picture(".png") for figure in drawn]


# --- in a process that draws -----------------------------------------------------------------------------------------

_given: tuple[Any, ...]  # the groups, and the endings


def _begin(*given: Any) -> None:
    global _given
    _given = given
    torch.set_num_threads(1)


def _draw(index: int, kind: str) -> dict[str, bytes] | None:
    """One figure as files; None where there is nothing to draw."""
    groups, endings = _given
    figure = KINDS[kind].draw(groups[index][2])
    return None if figure is None else {ending: figure_bytes(figure, ending) for ending in endings}
