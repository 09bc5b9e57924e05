"""The memory that a run needs in training, worked out from shapes."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.execution.shapes import META, Shapes, turns_of
from bench.variant import SGD, Adam, Noise, Player, Variant


@dataclass(frozen=True)
class Footprint:
    """Bytes.

    Attributes:
        kept: of each run, as long as it trains: weights, gradients, optimiser state, averages, batch and noise.
        update: of each run that is computed at the same time: the most that lives at once within an update (what is
            kept for the backward pass, gradients, intermediate results).
        evaluation: the same of an evaluation.
        shared: once for all runs: the variant's constants.
    """

    kept: int
    update: int
    evaluation: int
    shared: int

    def passing(self, captured: bool) -> int:
        """Bytes of each run that is computed. A captured step keeps those of its updates while runs are evaluated."""
        return self.update + self.evaluation if captured else max(self.update, self.evaluation)

    def of_cohort(self, runs: int, stacked: bool, captured: bool = False) -> int:
        """Bytes of so many runs, computed all at once where they are stacked, else one after the other."""
        return self.shared + runs * self.kept + (runs if stacked else 1) * self.passing(captured)


def footprint(variant: Variant) -> Footprint | None:
    """The memory of one run. The data are not needed.

    None where nobody can tell: an author's code may do anything, such as to ask for a number, and shapes have none.
    """
    try:
        players = [player for _, player in turns_of(variant)]
        with META:
            return _footprint(Shapes(variant), players)
    except Exception:
        return None


def _footprint(made: Shapes, players: Sequence[Player]) -> Footprint:
    tapes = {player.name: made.tape(player) for player in players}
    known = [made.images, made.tensors, made.batch, made.state, made.variant.constant]
    known += [net.gradient for net in made.stacked.values()]
    updates = [_most(partial(made.update, p, Noise(*tapes[p.name])), [*known, tapes[p.name]]) for p in players]
    images = torch.empty(made.variant.evaluation_batch, *made.images.shape[1:])
    evaluation = _most(partial(_without_gradients, made, images), known)
    tape = max(_bytes(tape) for tape in tapes.values())
    batch = [made.batch, made.state]
    return Footprint(
        kept=_weights(made, players) + _bytes(batch) + tape,
        update=max(updates),
        evaluation=evaluation,
        shared=_bytes(made.variant.constant),
    )


@torch.no_grad()
def _without_gradients(made: Shapes, images: Tensor) -> Tensor:
    return made.variant.classify(made.networks(), images + 0.0)  # the images as scaled are a copy


def _weights(made: Shapes, players: Sequence[Player]) -> int:
    """Of the networks: parameters, gradients and buffers, what optimisers keep, averages, historical means."""
    networks = made.stacked
    size = {name: 4 * sum(p[0].numel() for p in net.parameters.values()) for name, net in networks.items()}
    buffers = {name: _bytes(net.buffers) for name, net in networks.items()}
    unique = {player.name: player for player in players}.values()
    moments = sum(_moments(player.optimiser) * size[name] for player in unique for name in player.networks)
    averaged = {name for player in players if player.ema for name in player.networks}
    means = sum(size[name] for player in unique if player.historical_weight for name in player.networks)
    averages = sum(size[name] + buffers[name] for name in averaged)
    return 2 * sum(size.values()) + sum(buffers.values()) + moments + averages + means


def _moments(optimiser: Adam | SGD) -> int:
    """Numbers that an optimiser keeps for a weight."""
    if isinstance(optimiser, SGD):
        return 1 if optimiser.momentum else 0
    return 2


def _bytes(tree: Any) -> int:
    """Of the distinct memory behind tensors."""
    storages = {id(storage): storage for storage in map(Tensor.untyped_storage, _tensors(tree))}
    return sum(storage.nbytes() for storage in storages.values())


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _most(body: Any, known: Any) -> int:
    """The most bytes that live at once while `body` runs, beside the tensors that are known already."""
    with _Living(known) as living:
        body()
    return living.most


class _Living(TorchDispatchMode):
    """Bytes of the tensors that are alive."""

    def __init__(self, known: Any) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known = weakref.WeakSet[Any]()
        for tensor in _tensors(known):
            self.known.add(tensor.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._see(tensor.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        if storage in self.known:
            return
        self.known.add(storage)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._lose, storage.nbytes())

    def _lose(self, size: int) -> None:
        self.now -= size
