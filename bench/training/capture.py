"""The device's part of a step, captured once and replayed: a GPU then waits for no Python between its operations.

A capture (of a CUDA graph) is the list of operations that the step calls, on the memory that they were called with. So
whatever lives from step to step keeps its place in memory, and what changes from step to step is a tensor that the host
fills beforehand, or that the step itself advances. What differs in kind is captured anew: another phase, other players
whose turn it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol, TypeVar

import torch

from bench.errors import shorten

WARM_UP = 3  # steps of a kind before its capture: they make what is made at first use
WAITS = "called a synchronizing CUDA operation"  # torch's words

T = TypeVar("T")
Body = Callable[[], None]


class Graphs(Protocol):
    """Where captures come from."""

    def trial(self, body: Body) -> str:
        """Calls `body`, and says what speaks against capturing it; nothing if it can be tried."""

    def capture(self, body: Body, generators: Sequence[torch.Generator]) -> Callable[[], None]:
        """Records what `body` does without doing it; what is returned does it, with fresh numbers of `generators`.

        Raises:
            Exception: it cannot be captured; the generators are as they were.
        """

    def forget(self) -> None:
        """What has been captured is not replayed again."""


class CudaGraphs:
    """CUDA graphs, which share their memory for intermediate results: no two of them run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, _stream(device)
        self.pool: Any = None

    def trial(self, body: Body) -> str:
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                body()
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        for warning in caught:
            if "ynchroniz" not in str(warning.message):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        waits = [f"{w.filename}:{w.lineno}" for w in caught if WAITS in str(w.message)]
        return f"it waits for the device at {waits[0]}" if waits else ""

    def capture(self, body: Body, generators: Sequence[torch.Generator]) -> Callable[[], None]:
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        states = [generator.get_state() for generator in generators]
        try:
            with torch.cuda.device(self.device):
                _register(graph, generators)
                with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                    body()
        except Exception as error:
            # where a capture breaks off, torch leaves its stream in place, and the generators waiting for the end
            torch.cuda.set_stream(before)
            for generator, state in zip(generators, states, strict=True):
                generator.graphsafe_set_state(_fresh(generator.device, state))
            raise (error.__context__ or error) from None  # the first of two: ending what broke off is an error, too
        self.pool = graph.pool()
        return graph.replay

    def forget(self) -> None:
        self.pool = None  # it may be gone with the last of its graphs


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The one on which this process captures: cuBLAS keeps a workspace for each stream that it ever saw."""
    return torch.cuda.Stream(device)


def _register(graph: torch.cuda.CUDAGraph, generators: Sequence[torch.Generator]) -> None:
    """Lets a replay draw on from the generators. From torch 2.14 on a graph finds them by itself, and this only warns.

    See pytorch/pytorch#176753.
    """
    if (register := getattr(graph, "register_generator_state", None)) is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for generator in generators:
            register(generator)


def _fresh(device: torch.device, state: torch.Tensor) -> torch.Generator:
    generator = torch.Generator(device)
    generator.set_state(state)
    return generator


@dataclass
class Kind:
    """Steps that are all alike."""

    calls: int = 0
    result: Any = None  # of the body
    replay: Callable[[], None] | None = None

    def run(self, body: Callable[[], Any]) -> None:
        self.result = body()


class Captured:
    """Runs the bodies of steps: as written at first, then as captured; without `graphs` always as written."""

    def __init__(self, graphs: Graphs | None, generators: Sequence[torch.Generator], name: str) -> None:
        self.graphs, self.generators, self.name = graphs, generators, name
        self.kinds: dict[Hashable, Kind] = {}
        self.constants: Hashable = None

    def __call__(self, key: Hashable, constants: Hashable, body: Callable[[], T]) -> T:
        """Runs a step of the kind `key`. What `body` returns is on the host, and the same for all steps of the kind.

        `constants`: the numbers that change from step to step and that captured operations keep; new ones end them all.
        """
        if self.graphs is None:
            return body()
        if constants != self.constants:
            self.forget()
            self.constants = constants
        kind = self.kinds.setdefault(key, Kind())
        if kind.replay is None:
            kind.calls += 1
            self._capture(kind, self.graphs, body) if kind.calls > WARM_UP else self._warm_up(kind, self.graphs, body)
        if kind.replay is not None:
            kind.replay()
        return kind.result

    def _warm_up(self, kind: Kind, graphs: Graphs, body: Callable[[], Any]) -> None:
        if kind.calls < WARM_UP:
            kind.run(body)
        elif problem := graphs.trial(partial(kind.run, body)):
            self._give_up(problem)

    def _capture(self, kind: Kind, graphs: Graphs, body: Callable[[], Any]) -> None:
        try:
            kind.replay = graphs.capture(partial(kind.run, body), self.generators)
            return
        except Exception as error:  # a shortcut: whatever it cannot do may not stop a training run
            problem = shorten(error, 80)
        self._give_up(problem)  # out of the handler, whose traceback keeps the memory of what broke off
        kind.run(body)

    def _give_up(self, problem: str) -> None:
        warnings.warn(f"Training goes on without capturing the steps of {self.name}: {problem}", stacklevel=2)
        self.forget()
        self.graphs = None

    def forget(self) -> None:
        """Starts anew: tensors that captures work on have been replaced, or none of these steps comes again."""
        self.kinds.clear()
        if self.graphs is not None:
            self.graphs.forget()
