"""Stand-ins for CUDA graphs on a CPU.

`EmulatedGraphs` records the operations of a step with the memory and the numbers that they are called with, and calls
them again on a replay: what a step reads from the host stays as it was, as in a CUDA graph. `LiveGraphs` goes the same
way through the trainer but calls the step itself: what replays have to be equal to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

WAITING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}  # operations whose results the host needs
# Methods and functions that read a tensor, or copy what the host has; a CPU has no operation for these
MOVING = {"tolist", "numpy", "cpu", "cuda", "__array__", "tensor", "as_tensor", "from_numpy"}


class LiveGraphs:
    """Calls a step instead of replaying its capture."""

    def __init__(self) -> None:
        self.captures = self.replays = 0

    def trial(self, body: Callable[[], None]) -> str:
        body()
        return ""

    def capture(self, body: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
        self.captures += 1
        return self._counted(body)

    def forget(self) -> None: ...

    def _counted(self, replay: Callable[[], None]) -> Callable[[], None]:
        def counted() -> None:
            self.replays += 1
            replay()

        return counted


class EmulatedGraphs(LiveGraphs):
    """Replays what it has recorded."""

    def capture(self, body: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
        states, recorder = [generator.get_state() for generator in generators], Recorder()
        try:
            with NoMoves(), recorder:
                body()
        finally:
            recorder.undo()
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
        self.captures += 1
        return self._counted(recorder.replay)


class Operation(NamedTuple):
    function: Any
    args: Any
    kwargs: Any
    results: list[Tensor | None]  # with memory of their own


class Recorder(TorchDispatchMode):
    """Records operations; generators among their arguments are used anew on a replay."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.before: dict[int, tuple[Any, Any]] = {}  # memory, and copies from before it was written into

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if WAITING & set(function.tags):
            raise RuntimeError(f"{function} waits for the device")
        # other objects on the same memory: the shapes of these may change, and they belong to autograd
        own = _aliases((args, kwargs or {}))
        known, written = _memories(own), _memories(_written(function, own)).values()
        for storage in written:
            self.before.setdefault(storage._cdata, (storage, storage.clone()))
        result = function(*args, **(kwargs or {}))
        leaves = [_aliases(leaf) if _memories(leaf).keys() - known else None for leaf in tree_leaves(result)]
        if any(leaf is not None for leaf in leaves) or (written and torch.Tag.inplace_view not in function.tags):
            self.operations.append(Operation(function, *own, leaves))
        return result

    def undo(self) -> None:
        """A capture computes nothing: memory is as it was, and results hold no numbers yet."""
        for operation in self.operations:
            for storage in _memories(operation.results).values():
                storage.fill_(0xFF)  # as numbers: NaN, or -1
        for storage, copy in self.before.values():
            storage.copy_(copy)

    @torch.no_grad()
    def replay(self) -> None:
        for function, args, kwargs, results in self.operations:
            for old, new in zip(results, tree_leaves(function(*args, **kwargs)), strict=True):
                if old is not None:
                    old.copy_(new)


def _written(function: Any, own: tuple[Any, Any]) -> list[Any]:
    """The arguments that an operation writes into."""
    args, kwargs = own
    arguments = function._schema.arguments
    values = [*args, *(kwargs.get(argument.name) for argument in arguments[len(args) :])]
    return [v for a, v in zip(arguments, values, strict=True) if a.alias_info is not None and a.alias_info.is_write]


def _memories(tree: Any) -> dict[int, Any]:
    storages = [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    return {storage._cdata: storage for storage in storages}


def _aliases(tree: Any) -> Any:
    return tree_map_only(Tensor, Tensor.detach, tree)


class NoMoves(TorchFunctionMode):
    """Forbids what copies between host and device, which on a CPU are one."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := getattr(function, "__name__", "")) in MOVING:
            raise RuntimeError(f"{name} copies between the host and the device")
        return function(*args, **(kwargs or {}))
