"""Which runs train together, and how many."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bench import registry
from bench.datasets import Dataset, load
from bench.execution.footprint import Footprint, footprint
from bench.grid import Run, task_of
from bench.paths import default_data
from bench.training.executor import stacks
from bench.training.storage import template
from bench.variant import Phase, Variant

LARGEST_STACKED = 15  # vmap on a CPU: the cost per run has fallen to its floor, memory and lost work grow on
LARGEST_ON_GPU = 40  # where memory allows; not yet measured: the seeds of four budgets
SPARE_ON_GPU = 0.2  # of the free memory: for what torch's allocator and captured steps keep beside the tensors


@dataclass(frozen=True)
class DataSource:
    """Where a worker gets the dataset from."""

    name: str
    root: Path | None  # None: wherever the machine that loads it has its data
    image_size: int | None = None
    index_file: Path | None = None

    def load(self) -> Dataset:
        return load(self.name, self.root or default_data(), image_size=self.image_size)


@dataclass(frozen=True)
class Cohort:
    """Runs that train together."""

    name: str
    runs: tuple[Run, ...]


def variant_of(run: Run, dataset: Dataset) -> Variant:
    """The run's variant with its task and recipe."""
    kind = registry.get(run.variant)
    recipe = kind.recipe_type.model_validate_json(json.dumps(run.recipe), strict=True)
    return kind(task_of(dataset, run.budget, run.validation, run.unlabelled), recipe)


def group(runs: Sequence[Run], dataset: Dataset, device: torch.device, jobs: int, size: int | None) -> list[Cohort]:
    """Puts runs of equal shape and schedule into cohorts of at most `size` (None: by rule), the longest first.

    The longest: by steps, runs and weights, so that no worker starts on something long when the others have finished.

    The rule: as many as stacking makes cheaper and a GPU's free memory holds; one where it makes nothing cheaper (loop
    executor on a CPU); but enough cohorts to keep all jobs busy. On a CPU the results do not depend on it.
    """
    groups: dict[str, list[Run]] = {}
    shapes: dict[str, str] = {}  # runs that differ by seed have one shape
    for run in runs:
        cell = run.model_dump_json(exclude={"id", "seed"})
        if cell not in shapes:
            shapes[cell] = shape_of(run, dataset)
        groups.setdefault(shapes[cell], []).append(run)
    cohorts: list[tuple[int, Cohort]] = []
    for members in groups.values():
        variant = variant_of(members[0], dataset)
        networks = [template(make) for make in variant.networks().values()]
        weights = sum(p.numel() for network in networks for p in network.parameters())
        largest = size or _largest(networks, variant, dataset, device, jobs)
        pieces = math.ceil(len(members) / largest)
        if size is None:
            pieces = max(pieces, min(len(members), math.ceil(jobs / len(groups))))
        for index in range(pieces):
            part = tuple(members[index::pieces])
            cohort = Cohort(f"{part[0].label}-{part[0].protocol}-{part[0].id}", part)
            cohorts.append((part[0].steps * len(part) * weights, cohort))
    return [cohort for _, cohort in sorted(cohorts, key=lambda found: -found[0])]


def _largest(networks: Sequence[nn.Module], variant: Variant, dataset: Dataset, device: torch.device, jobs: int) -> int:
    if device.type == "cuda":
        needed = footprint(variant)
        return LARGEST_ON_GPU if needed is None else largest_on_gpu(needed, data_bytes(dataset), free_on(device), jobs)
    return LARGEST_STACKED if stacks(networks, device) else 1


def largest_on_gpu(needed: Footprint, data: int, free: int | None, jobs: int) -> int:
    """As many runs as each job's part of the free device memory holds beside what is spare; but at least one.

    Args:
        data: bytes of the images, which each job has there.
        free: bytes; None where nobody knows, the device being another machine's.
    """
    if free is None:
        return LARGEST_ON_GPU
    room = (1 - SPARE_ON_GPU) * free / jobs - needed.shared - data
    return max(1, min(LARGEST_ON_GPU, int(room // (needed.kept + needed.passing(captured=True)))))


def free_on(device: torch.device) -> int | None:
    """Bytes of a CUDA device that nobody uses; None for a CPU, and where this machine has no such device."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    return torch.cuda.mem_get_info(device)[0]


def data_bytes(dataset: Dataset) -> int:
    """What its images take."""
    return sum(images.numel() * images.element_size() for images in (dataset.train_images, dataset.test_images))


def shape_of(run: Run, dataset: Dataset) -> str:
    """Equal for runs that may share a cohort: same variant, recipe, steps, phases and draws, but for their budget."""
    variant = variant_of(run, dataset)
    phases = [(phase.name, phase.share, sorted(phase.fresh), _players(phase)) for phase in variant.phases()]
    draws = [sorted(d.items()) for d in (variant.draws(), variant.initial_draws())]
    return repr(
        [run.label, run.version, run.protocol, run.precision, run.recipe, run.steps, run.validation, phases, draws]
    )


def _players(phase: Phase) -> list[tuple[object, ...]]:
    """All about a phase's players but the functions, which the recipe and the phases' shares determine."""
    return [(p.name, p.networks, p.lr, p.optimiser, p.ema, p.every, p.repeat) for p in phase.players]
