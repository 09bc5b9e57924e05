"""The least time that a training step can take: the larger of what its products and its memory traffic take.

Operations by torch's own formulas. Bytes: operands and results of every product and convolution, each once; and what
optimisers and averages read and write. Element-wise operations are left out, so the bound lies below what is possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.speed.plain import PlainLoop
from bench.variant import Adam

FLOAT = 4  # bytes
ADAM = 7  # numbers per weight: weight, gradient and two moments are read, all but the gradient written
MOMENTUM = 5  # the same with one moment
AVERAGE = 3  # the weight and its average are read, the average written


class Cost(NamedTuple):
    """Of one run-step."""

    flops: float
    bytes: float

    def seconds(self, flops_rate: float, bytes_rate: float) -> float:
        """The larger of both times, at these rates per second."""
        return max(self.flops / flops_rate, self.bytes / bytes_rate)


def weighted(parts: list[tuple[float, Cost]]) -> Cost:
    """The mean cost of phases that take these shares of the steps."""
    total = sum(share for share, _ in parts)
    return Cost(sum(s * cost.flops for s, cost in parts) / total, sum(s * cost.bytes for s, cost in parts) / total)


class Products(TorchDispatchMode):
    """Counts what runs inside it: operations, and bytes of operands and results."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils.flop_counter import flop_registry  # a slow import

        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **kwargs, out_val=result)
            self.bytes += sum(t.numel() * t.element_size() for t in _tensors([args, kwargs, result]))
        return result


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def cost_of_step(loop: PlainLoop) -> Cost:
    """Of the next step of a plain loop in which every player takes its turn; it takes that step."""
    loop.step()  # which learns how much noise is read, on copies
    with Products() as products:
        loop.step()
    return Cost(products.flops, products.bytes + FLOAT * sum(_updated(loop)))


def _updated(loop: PlainLoop) -> Iterator[int]:
    """Numbers that each player's optimiser and average read and write in a step."""
    for player in loop.phase.players:
        weights = sum(p.numel() for name in player.networks for p in loop.networks[name].parameters())
        moments = ADAM if isinstance(player.optimiser, Adam) else MOMENTUM
        yield player.repeat * weights * (moments + (AVERAGE if player.ema else 0)) // player.every
