"""Two ways to run one loss for every run of a cohort, on the same stacked storage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from bench.training.noise import Tape
from bench.training.precision import FP32, Precision
from bench.training.storage import StackedNetwork
from bench.training.tracing import TRACE_AFTER, Repeated
from bench.variant import Nets, Noise

Networks = Mapping[str, StackedNetwork]
Weights = Mapping[str, Mapping[str, Tensor]]  # network -> parameter or buffer -> [runs, *shape]
LARGEST_STACKED = 2**17  # elements of a weight; measured on CPU, break-even lies near a 512 x 256 matrix


class Executor(Protocol):
    def losses(
        self, loss: Callable[..., Any], owned: frozenset[str], batch: Any, tape: Tape, state: Any, progress: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Runs `loss` for every run and leaves the owned networks' gradients where their storage keeps them.

        Returns: losses `[runs]`, logs `{name: [runs]}`, new state `{name: [runs, *shape]}`, all detached.
        """

    def logits(
        self, classify: Callable[..., Tensor], parameters: Weights, buffers: Weights, images: Tensor, shared: bool
    ) -> Tensor:
        """`[runs, batch, K]` for images `[batch, *image_shape]` that all runs share, or `[runs, batch, ...]`."""


class BoundNetwork:
    """One run's network: call it like the module; `tensors` are its parameters and buffers by name."""

    def __init__(self, network: StackedNetwork, tensors: dict[str, Tensor]) -> None:
        self.network, self.tensors = network, tensors

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """What `torch.func.functional_call` does, without its search for every tensor's place at each call."""
        for holder, key, _, name in self.network.places:
            holder[key] = self.tensors[name]
        try:
            return self.network.template(*args, **kwargs)
        finally:
            for holder, key, own, _ in self.network.places:
                holder[key] = own


def assemble(networks: Networks, tensors: Mapping[str, dict[str, Tensor]]) -> Nets:
    """`nets.NAME` is the network of one run with the given parameters and buffers."""
    return Nets(**{name: BoundNetwork(net, tensors[name]) for name, net in networks.items()})


def objective(
    networks: Networks, loss: Callable[..., Any], precision: Precision
) -> Callable[..., tuple[Tensor, Any, Any]]:
    """A player's loss as a function of one run's tensors."""

    def one(tensors: Any, batch: Any, tape: Tape, state: Any, progress: Tensor) -> tuple[Tensor, Any, Any]:
        with precision.forward():
            value, logs, *new = loss(assemble(networks, tensors), batch, Noise(*tape), state, progress)
        return precision.widened((value, logs, new[0] if new else {}))

    return one


def predictor(
    networks: Networks, classify: Callable[..., Tensor], precision: Precision
) -> Callable[[Any, Tensor], Tensor]:
    """A variant's `classify` as a function of one run's tensors and of images."""

    def one(tensors: Any, images: Tensor) -> Tensor:
        with precision.forward():
            logits = classify(assemble(networks, tensors), images)
        return precision.widened(logits)

    return one


class VmapExecutor:
    """All runs in one batched computation: pays for tiny networks on a CPU, and on a GPU."""

    name = "vmap"

    def __init__(self, networks: Networks, trace_after: float = TRACE_AFTER, precision: Precision = FP32) -> None:
        self.networks, self.trace_after, self.precision = networks, trace_after, precision
        self.stacked: dict[tuple[int, frozenset[str]], Repeated] = {}  # by a loss's `id`: an entry keeps it alive

    def losses(
        self, loss: Callable[..., Any], owned: frozenset[str], batch: Any, tape: Tape, state: Any, progress: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        key = (id(loss), owned)
        if key not in self.stacked:
            self.stacked[key] = Repeated(self._stacked(loss, owned), self.trace_after, f"the loss {_name(loss)}")
        own = {name: self.networks[name].parameters for name in owned}
        fixed = {
            name: net.buffers if name in owned else {**net.parameters, **net.buffers}
            for name, net in self.networks.items()
        }
        values, logs, new, gradients = self.stacked[key](own, fixed, batch, tape, state, progress)
        for name in owned:
            self.networks[name].keep_gradients(gradients[name])
        return values, logs, new

    def _stacked(self, loss: Callable[..., Any], owned: frozenset[str]) -> Callable[..., Any]:
        """The loss of all runs and its gradients `{network: {parameter: [runs, *shape]}}`."""
        stacked = vmap(objective(self.networks, loss, self.precision), in_dims=(0, 0, 0, 0, None))

        def losses(own: Any, fixed: Any, batch: Any, tape: Tape, state: Any, progress: Tensor) -> Any:
            leaves = tree_map(lambda value: value.detach().requires_grad_(), own)
            tensors = {name: {**leaves.get(name, {}), **fixed[name]} for name in self.networks}
            values, logs, new = stacked(tensors, batch, tape, state, progress)
            flat, spec = tree_flatten(leaves)
            gradients = torch.autograd.grad(values.sum(), flat, materialize_grads=True)
            return values.detach(), _detached(logs), _detached(new), tree_unflatten(gradients, spec)

        return losses

    def logits(
        self, classify: Callable[..., Tensor], parameters: Weights, buffers: Weights, images: Tensor, shared: bool
    ) -> Tensor:
        one = predictor(self.networks, classify, self.precision)
        weights = {name: {**parameters[name], **buffers[name]} for name in self.networks}
        with torch.no_grad():
            return vmap(one, in_dims=(0, None if shared else 0))(weights, images)


class LoopExecutor:
    """Run after run as ordinary PyTorch on its slices: as fast as plain modules for anything large on a CPU."""

    name = "loop"

    def __init__(self, networks: Networks, precision: Precision = FP32) -> None:
        self.networks, self.precision = networks, precision
        runs = range(next(iter(networks.values())).runs)
        self.slices = [
            of_run({name: {**net.parameters, **net.buffers} for name, net in networks.items()}, i) for i in runs
        ]
        self.leaves = [
            {name: {**self.slices[i][name], **net.run_leaves[i]} for name, net in networks.items()} for i in runs
        ]

    def losses(
        self, loss: Callable[..., Any], owned: frozenset[str], batch: Any, tape: Tape, state: Any, progress: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        one = objective(self.networks, loss, self.precision)
        for name in owned:
            self.networks[name].gradient.zero_()
        results = []
        for i in range(len(self.slices)):
            tensors = {name: (self.leaves if name in owned else self.slices)[i][name] for name in self.networks}
            value, logs, new = one(tensors, of_run(batch, i), of_run(tape, i), of_run(state, i), progress)
            value.backward()
            results.append((value.detach(), _detached(logs), _detached(new)))
        return _stack(results)

    def logits(
        self, classify: Callable[..., Tensor], parameters: Weights, buffers: Weights, images: Tensor, shared: bool
    ) -> Tensor:
        one = predictor(self.networks, classify, self.precision)
        weights = {name: {**parameters[name], **buffers[name]} for name in self.networks}
        with torch.no_grad():
            parts = [one(of_run(weights, i), images if shared else images[i]) for i in range(len(self.slices))]
        return torch.stack(parts)


def choose(networks: Networks, device: torch.device, precision: Precision = FP32) -> VmapExecutor | LoopExecutor:
    """The executor for these networks: a rule per shape and device, never of the cohort's size.

    On a CPU stacking pays only while the price of a call, not its arithmetic, is what costs; convolutions lose by it.
    On a GPU the whole step is captured, and a loss too seldom called to be traced.
    """
    if not stacks([net.template for net in networks.values()], device):
        return LoopExecutor(networks, precision)
    return VmapExecutor(networks, TRACE_AFTER if device.type == "cpu" else math.inf, precision)


def stacks(templates: Sequence[nn.Module], device: torch.device) -> bool:
    """Whether these networks run under `vmap`."""
    if device.type != "cpu":
        return True
    convolutions = any(isinstance(m, nn.modules.conv._ConvNd) for t in templates for m in t.modules())
    return not convolutions and max(p.numel() for t in templates for p in t.parameters()) <= LARGEST_STACKED


def _name(loss: Callable[..., Any]) -> str:
    while isinstance(loss, partial):
        loss = loss.func
    return getattr(loss, "__qualname__", type(loss).__name__)


def of_run(tree: Any, run: int) -> Any:
    """One run's share of tensors `[runs, ...]`."""
    return tree_map(lambda tensor: tensor[run], tree)


def _detached(tree: Any) -> Any:
    return tree_map(lambda tensor: tensor.detach(), tree)


def _stack(results: Sequence[tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]]) -> Any:
    values, logs, states = zip(*results, strict=True)
    return torch.stack(values), _stack_dicts(logs), _stack_dicts(states)


def _stack_dicts(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    rows = list(parts)
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
