"""What the training of a run costs in floating point operations; the data and their numbers play no part in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from bench import registry
from bench.datasets import outline
from bench.errors import UsageError
from bench.execution.shapes import META, Draws, Shapes, draws_of, turns_of
from bench.grid import Run
from bench.grid.stale import is_stale
from bench.training.schedule import Schedule
from bench.variant import Player, Task, Variant


def training_flops(run: Run) -> float | None:
    """Operations of one run's whole training: forwards and backwards of all updates of all players in all phases.

    Matrix products and convolutions count, each by torch's formula; neither evaluations nor the initialisation, and
    nothing that is done element by element. The data are not needed. The runs of a cell cost one count.

    Returns:
        None where nobody can tell: the variant is not installed here or cannot be counted, the run is stale, or the
        dataset has no name of its own (a file, a folder, resized images).
    """
    variant = _variant_of(run)
    if variant is None:
        return None
    try:
        return float(_total(variant, run.steps))
    except Exception:  # an author's code may do anything; that it cannot be counted must not stop a report
        return None


def _variant_of(run: Run) -> Variant | None:
    """The run's variant with its task and recipe, where today's code would make the same run of a known dataset."""
    data = outline(run.dataset)
    try:
        kind = registry.get(run.variant)
    except UsageError:
        return None
    if data is None or is_stale(run):
        return None
    fields = kind.recipe_type
    added = {name: fields.neutral(name) for name in fields.model_fields if fields.has_neutral(name)}
    recipe = fields.model_validate_json(json.dumps({**added, **run.recipe}), strict=True)
    rest = data.train_images - run.budget - run.validation if run.unlabelled is None else run.unlabelled
    return kind(Task(data.image_shape, data.classes, data.value_range, run.budget, rest), recipe)


def _total(variant: Variant, steps: int) -> int:
    """Each player's cost of an update, times its updates in each phase."""
    schedule, costs, start, total = Schedule(variant.phases(), steps, 1), _update_flops(_shapes(variant)), 0, 0
    for phase, end in zip(schedule.phases, schedule.ends, strict=True):
        for player in phase.players:
            turns = -(-end // player.every) - -(-start // player.every)  # multiples of `every` in [start, end)
            total += turns * player.repeat * costs[phase.name, player.name]
        start = end
    return total


@dataclass(frozen=True)
class _Shapes:
    """All that the cost of an update depends on: runs that differ in seed, length or, mostly, budget have it equal."""

    kind: type[Variant]
    recipe: str
    image_shape: tuple[int, ...]
    classes: int
    draws: Draws
    players: tuple[tuple[str, str, tuple[str, ...]], ...]  # phase, player, networks
    variant: Variant = field(compare=False)


def _shapes(variant: Variant) -> _Shapes:
    recipe = variant.recipe.model_dump_json(exclude={"steps", "epochs", "evaluations", "test_images"})
    players = tuple((phase.name, player.name, player.networks) for phase, player in turns_of(variant))
    task = variant.task
    return _Shapes(type(variant), recipe, task.image_shape, task.classes, draws_of(variant), players, variant)


@lru_cache(maxsize=256)
def _update_flops(shapes: _Shapes) -> Mapping[tuple[str, str], int]:
    """Operations of one update, by the names of phase and player."""
    turns = turns_of(shapes.variant)
    with META, _Counting() as counting:
        made = Shapes(shapes.variant)
        players = {(player.loss, player.networks): player for _, player in turns}  # phases may share an update
        costs = {update: counting(made, player) for update, player in players.items()}
    return {(phase.name, player.name): costs[player.loss, player.networks] for phase, player in turns}


class _Counting(TorchDispatchMode):
    """Counts by torch's formulas. `FlopCounterMode` gives the same numbers, and takes several times as long."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils.flop_counter import flop_registry  # a slow import

        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result

    def __call__(self, made: Shapes, player: Player) -> int:
        """Operations of an update."""
        before = self.flops
        made.update(player)
        return self.flops - before
