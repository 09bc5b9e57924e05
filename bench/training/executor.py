"""Two ways to run one loss for every run of a cohort, on the same stacked storage.

On a CPU either way is written out as a list of operations after some calls (`bench.training.tracing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
LARGEST_STACKED = 2**19  # elements of a weight; reports/performance.md, "Where stacking ends"


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
    """All runs in one batched computation: pays for small perceptrons on a CPU, and on a GPU."""

    name = "vmap"

    def __init__(self, networks: Networks, trace_after: float = TRACE_AFTER, precision: Precision = FP32) -> None:
        self.networks, self.precision = networks, precision
        self.repeated = Losses(networks, trace_after, lambda loss: vmap(loss, in_dims=(0, 0, 0, 0, None)), precision)

    def losses(
        self, loss: Callable[..., Any], owned: frozenset[str], batch: Any, tape: Tape, state: Any, progress: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        parameters = {name: net.parameters for name, net in self.networks.items()}
        buffers = {name: net.buffers for name, net in self.networks.items()}
        weights = _of_owner(owned, parameters, buffers)
        values, logs, new, gradients = self.repeated(loss, owned)(*weights, batch, tape, state, progress)
        for name in owned:
            self.networks[name].keep_gradients(gradients[name])
        return values, logs, new

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

    def __init__(self, networks: Networks, trace_after: float = TRACE_AFTER, precision: Precision = FP32) -> None:
        self.networks, self.precision = networks, precision
        self.repeated = Losses(networks, trace_after, lambda loss: loss, precision)
        runs = range(next(iter(networks.values())).runs)
        self.parameters = [of_run({name: net.parameters for name, net in networks.items()}, i) for i in runs]
        self.buffers = [of_run({name: net.buffers for name, net in networks.items()}, i) for i in runs]

    def losses(
        self, loss: Callable[..., Any], owned: frozenset[str], batch: Any, tape: Tape, state: Any, progress: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        results = []
        for i in self.each():
            weights = _of_owner(owned, self.parameters[i], self.buffers[i])
            inputs = (of_run(batch, i), of_run(tape, i), of_run(state, i))
            *found, gradients = self.repeated(loss, owned)(*weights, *inputs, progress)
            for name in owned:
                self.networks[name].keep_gradients(gradients[name], i)
            results.append(found)
        return _stack(results)

    def each(self) -> Iterator[int]:
        """The runs, in turn."""
        yield from range(len(self.parameters))

    def logits(
        self, classify: Callable[..., Tensor], parameters: Weights, buffers: Weights, images: Tensor, shared: bool
    ) -> Tensor:
        one = predictor(self.networks, classify, self.precision)
        weights = {name: {**parameters[name], **buffers[name]} for name in self.networks}
        with torch.no_grad():
            parts = [one(of_run(weights, i), images if shared else images[i]) for i in range(len(self.parameters))]
        return torch.stack(parts)


class Losses:
    """What a loss and its gradients are computed with, for each loss and the networks that its player owns."""

    def __init__(
        self, networks: Networks, trace_after: float, batched: Callable[..., Callable[..., Any]], precision: Precision
    ) -> None:
        """`batched` makes the loss of one run that of all that are computed at once."""
        self.networks, self.trace_after, self.batched, self.precision = networks, trace_after, batched, precision
        self.known: dict[tuple[int, frozenset[str]], Repeated] = {}  # by a loss's `id`: an entry keeps it alive

    def __call__(self, loss: Callable[..., Any], owned: frozenset[str]) -> Repeated:
        key = (id(loss), owned)
        if key not in self.known:
            self.known[key] = Repeated(self._graded(loss), self.trace_after, f"the loss {_name(loss)}")
        return self.known[key]

    def _graded(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        """The loss and its gradients `{network: {parameter: [..., *shape]}}` by all tensors that are its owner's."""
        batched = self.batched(objective(self.networks, loss, self.precision))

        def graded(own: Any, fixed: Any, batch: Any, tape: Tape, state: Any, progress: Tensor) -> Any:
            leaves = tree_map(lambda value: value.detach().requires_grad_(), own)
            tensors = {name: {**leaves.get(name, {}), **fixed[name]} for name in self.networks}
            values, logs, new = batched(tensors, batch, tape, state, progress)
            flat, spec = tree_flatten(leaves)
            gradients = torch.autograd.grad(values.sum(), flat, materialize_grads=True)
            return values.detach(), _detached(logs), _detached(new), tree_unflatten(gradients, spec)

        return graded


def choose(networks: Networks, device: torch.device, precision: Precision = FP32) -> VmapExecutor | LoopExecutor:
    """The executor for these networks: a rule per shape and device, never of the cohort's size.

    On a CPU stacking pays only while the price of a call, not its arithmetic, is what costs; convolutions lose by it.
    On a GPU the whole step is captured, and a loss too seldom called to be traced.
    """
    kind = VmapExecutor if stacks([net.template for net in networks.values()], device) else LoopExecutor
    return kind(networks, TRACE_AFTER if device.type == "cpu" else math.inf, precision)


def stacks(templates: Sequence[nn.Module], device: torch.device) -> bool:
    """Whether these networks run under `vmap`."""
    if device.type != "cpu":
        return True
    return not convolve(templates) and max(p.numel() for t in templates for p in t.parameters()) <= LARGEST_STACKED


def convolve(networks: Iterable[nn.Module]) -> bool:
    """Whether a layer is one of torch's convolutions, or a weight a kernel `[outputs, inputs, height, width]`."""
    return any(
        isinstance(module, nn.modules.conv._ConvNd) or any(p.dim() == 4 for p in module.parameters(recurse=False))
        for network in networks
        for module in network.modules()
    )


def _of_owner(owned: frozenset[str], parameters: Weights, buffers: Weights) -> tuple[Weights, Weights]:
    """The parameters by which gradients are taken, and all other tensors."""
    own = {name: parameters[name] for name in owned}
    fixed = {name: buffers[name] if name in owned else {**parameters[name], **buffers[name]} for name in parameters}
    return own, fixed


def _name(loss: Callable[..., Any]) -> str:
    while isinstance(loss, partial):
        loss = loss.func
    return getattr(loss, "__qualname__", type(loss).__name__)


def of_run(tree: Any, run: int) -> Any:
    """One run's share of tensors `[runs, ...]`."""
    return tree_map(lambda tensor: tensor[run], tree)


def _detached(tree: Any) -> Any:
    return tree_map(lambda tensor: tensor.detach(), tree)


def _stack(results: Sequence[Sequence[Any]]) -> Any:
    values, logs, states = zip(*results, strict=True)
    return torch.stack(values), _stack_dicts(logs), _stack_dicts(states)


def _stack_dicts(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    rows = list(parts)
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
