"""One run of a variant as nothing but shapes: its networks, batch and losses without data, and without arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bench.training.executor import assemble, of_run
from bench.training.noise import CountingNoise, measure
from bench.training.storage import StackedNetwork, template
from bench.training.trainer import PART
from bench.variant import Draw, Examples, Nets, Noise, Phase, Player, Variant

META = torch.device("meta")  # tensors there have shapes and no numbers: nothing is computed, nothing drawn
Draws = Sequence[tuple[str, Draw]]  # by name, with the sizes that they come to


def draws_of(variant: Variant) -> Draws:
    """What a step draws; `all` of a pool is so many images."""
    task = variant.task
    pools = {"labelled": task.labelled, "unlabelled": task.unlabelled, "all": task.labelled + task.unlabelled}
    return tuple(
        (name, replace(draw, size=pools[draw.pool]) if draw.order == "all" else draw)
        for name, draw in variant.draws().items()
    )


def turns_of(variant: Variant) -> list[tuple[Phase, Player]]:
    """The players of all phases that have steps."""
    return [(phase, player) for phase in variant.phases() if phase.share > 0 for player in phase.players]


class Shapes:
    """What a step of one run works on. To be made and used within `META`."""

    def __init__(self, variant: Variant) -> None:
        task = variant.task
        self.variant = variant
        self.images = torch.empty(task.labelled + task.unlabelled, *task.image_shape)
        variant.constant = variant.constants(self.images.split(PART))
        networks = {name: template(make) for name, make in variant.networks().items()}
        self.stacked = {name: StackedNetwork(net, [net], META) for name, net in networks.items()}
        self.tensors = {name: of_run({**net.parameters, **net.buffers}, 0) for name, net in self.stacked.items()}
        self.batch, self.state = _batch(draws_of(variant), task.image_shape), variant.state()
        variant.task = replace(task, labelled=None, unlabelled=None)  # type: ignore[arg-type]  # as in training

    def networks(self, owned: Sequence[str] = ()) -> Nets:
        """The networks, those that are `owned` with gradients."""
        own = {name: _with_gradients(self.tensors[name], self.stacked[name].shapes) for name in owned}
        return assemble(self.stacked, {**self.tensors, **own})

    def update(self, player: Player, noise: Noise | None = None) -> None:
        """A player's loss and its gradient by the weights of the player's own networks."""
        nets = self.networks(player.networks)
        loss, *_ = player.loss(nets, self.batch, noise or CountingNoise(META), self.state, torch.zeros(()))
        loss.backward()

    def tape(self, player: Player) -> tuple[Tensor, Tensor]:
        """The noise that a player's loss reads: normal and uniform numbers."""
        nets = self.networks()
        lengths = measure(lambda noise: player.loss(nets, self.batch, noise, self.state, torch.zeros(())), META)
        return torch.empty(lengths.normal), torch.empty(lengths.uniform)


def _with_gradients(tensors: Mapping[str, Tensor], parameters: Iterable[str]) -> dict[str, Tensor]:
    return {**tensors, **{name: tensors[name].detach().requires_grad_() for name in parameters}}


def _batch(draws: Draws, image_shape: tuple[int, ...]) -> Mapping[str, Any]:
    """One run's batch."""
    batch: dict[str, Any] = {}
    for name, draw in draws:
        images = torch.empty(draw.size, *image_shape)
        labelled = draw.pool == "labelled"
        batch[name] = Examples(images, torch.empty(draw.size, dtype=torch.int64)) if labelled else images
    return batch
