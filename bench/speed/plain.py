"""One run of any variant as a competent user would train it by hand: plain modules, eager PyTorch, torch's optimisers.

The arithmetic is the trainer's: the networks, phases, draws and losses of the contract. Nothing else is: no stacking,
no logs, no checks, no traces. So what it costs is what a variant costs without this package.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.datasets import Dataset, Split
from bench.speed.minibatches import Batch, Minibatches, pool_of
from bench.speed.updates import Average, History, optimiser
from bench.training.noise import Lengths, measure
from bench.variant import Adam, Draw, Examples, Nets, Noise, Phase, Player, Variant

PART = 5000  # images at once, where all are looked at


class PlainLoop:
    """A run in training. `step()` takes the steps of `phase`, which `enter` changes."""

    def __init__(self, variant: Variant, data: Dataset, split: Split, device: torch.device) -> None:
        self.variant, self.data, self.split, self.device = variant, data, split, device
        self.images = data.train_images.to(device)
        parts = (data.scale(part) for part in self.images.split(PART))
        variant.constant = {name: value.to(device) for name, value in variant.constants(parts).items()}
        self.networks = {name: make().to(device) for name, make in variant.networks().items()}
        self.trained = set(self.networks)  # whose weights want gradients
        self._initialise()
        self.nets = bound(self.networks)
        self.state = {name: value.to(device) for name, value in variant.state().items()}
        self.draws = self._minibatches(variant.draws())
        self.optimisers: dict[str, Any] = {}  # by player
        self.averages: dict[str, Average] = {}  # by network
        self.histories: dict[str, History] = {}  # by player
        self.lengths: dict[str, Lengths] = {}  # by player: how much noise its loss reads
        self.at = 0
        self.enter(next(phase for phase in variant.phases() if phase.share > 0))

    def _minibatches(self, draws: Mapping[str, Draw]) -> dict[str, Minibatches]:
        return {name: Minibatches(draw, pool_of(draw, self.split, self.device)) for name, draw in draws.items()}

    def _initialise(self) -> None:
        """The variant's data-dependent initialisation; a copy is spent to learn how much noise it reads."""
        draws = self._minibatches(self.variant.initial_draws())
        if not draws:
            return
        batch, variant = self.batch_of(draws), self.variant
        lengths = measure(lambda n: variant.initialise(Nets(**copy.deepcopy(self.networks)), batch, n), self.device)
        variant.initialise(Nets(**self.networks), batch, self.noise(lengths))

    def batch_of(self, draws: Mapping[str, Minibatches]) -> Batch:
        """A batch of which only what a loss asks for is made."""

        def make(name: str) -> Any:
            minibatches = draws[name]
            chosen = minibatches.next()
            images = self.data.scale(self.images[minibatches.pool.indices[chosen]])
            labels = minibatches.pool.labels
            return images if labels is None else Examples(images, labels[chosen])

        return Batch(make)

    def noise(self, lengths: Lengths) -> Noise:
        normal = torch.randn(lengths.normal, device=self.device)
        return Noise(normal, torch.rand(lengths.uniform, device=self.device))

    def enter(self, phase: Phase) -> None:
        """Makes what the phase's players need and have not yet."""
        self.phase = phase
        self.lengths.clear()
        for player in phase.players:
            own = [self.networks[name] for name in player.networks]
            weights = [p for net in own for p in net.parameters()]
            if player.name in phase.fresh or player.name not in self.optimisers:
                self.optimisers[player.name] = optimiser(player.optimiser, weights, player.lr)
            if player.ema:
                for name in player.networks:
                    self.averages.setdefault(name, Average(player.ema, self.networks[name]))
            if player.historical_weight:
                self.histories.setdefault(player.name, History(player.historical_weight, weights))

    def step(self, progress: float = 0.0) -> dict[str, Tensor]:
        """Every player's turn; the loss of each player's last update.

        Args:
            progress: of the whole training, 0 to 1.
        """
        batch, losses = self.batch_of(self.draws), {}
        at = torch.full((), progress, device=self.device)
        for player in self.phase.players:
            if self.at % player.every == 0:
                for _ in range(player.repeat):
                    losses[player.name] = self.update(player, batch, progress, at)
        self.at += 1
        return losses

    def update(self, player: Player, batch: Mapping[str, Any], progress: float, at: Tensor) -> Tensor:
        """One step of a player; returns its loss."""
        self._own(player)
        loss, _, *new = player.loss(self.nets, batch, self.noise(self._lengths(player, batch, at)), self.state, at)
        optimiser = self.optimisers[player.name]
        optimiser.zero_grad()
        loss.backward()
        for group in optimiser.param_groups:
            group["lr"] = player.lr * player.schedule(progress)
            if isinstance(player.optimiser, Adam) and player.beta1 is not None:
                group["betas"] = (player.beta1(progress), group["betas"][1])
        history = self.histories.get(player.name)
        if history is not None:
            history.pull()
        optimiser.step()
        if history is not None:
            history.update()
        for name in player.networks if player.ema else ():
            self.averages[name].update()
        if new:
            self.state = {**self.state, **{name: value.detach() for name, value in new[0].items()}}
        return loss.detach()

    def _own(self, player: Player) -> None:
        """No gradient by the weights of other players: none of it is used, and it costs time."""
        for name in self.trained ^ set(player.networks):
            self.networks[name].requires_grad_(name in player.networks)
        self.trained = set(player.networks)

    def _lengths(self, player: Player, batch: Mapping[str, Any], at: Tensor) -> Lengths:
        if player.name not in self.lengths:
            nets = bound(copy.deepcopy(self.networks))
            self.lengths[player.name] = measure(lambda n: player.loss(nets, batch, n, self.state, at), self.device)
        return self.lengths[player.name]


class Bound:
    """A module as losses see it: something to call, with its tensors by name."""

    def __init__(self, module: nn.Module) -> None:
        self.call: Callable[..., Tensor] = module
        self.tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.call(*args, **kwargs)


def bound(networks: Mapping[str, nn.Module]) -> Nets:
    return Nets(**{name: Bound(module) for name, module in networks.items()})
