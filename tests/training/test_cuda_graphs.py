"""What `CudaGraphs` makes of torch's answers, by a stand-in for `torch.cuda`; a GPU is tried in test_cuda.py."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch

from bench.training.capture import CudaGraphs

DEVICE = torch.device("cpu")


class Graph:
    def __init__(self) -> None:
        self.generators: list[Any] = []
        self.replays = 0

    def register_generator_state(self, generator: Any) -> None:
        self.generators.append(generator)

    def pool(self) -> str:
        return "pool"

    def replay(self) -> None:
        self.replays += 1


class Generator:
    """What a generator of a GPU has and one of a CPU has not."""

    def __init__(self) -> None:
        self.device, self.own, self.replaced_by = DEVICE, torch.Generator().manual_seed(7), None

    def get_state(self) -> torch.Tensor:
        return self.own.get_state()

    def graphsafe_set_state(self, other: torch.Generator) -> None:
        self.replaced_by = other


class Cuda:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.modes: list[Any] = []
        self.pools: list[Any] = []
        self.streams: list[Any] = []

    @contextmanager
    def graph(self, graph: Graph, pool: Any, stream: str) -> Iterator[None]:
        self.pools.append(pool)
        try:
            yield
        except Exception:
            raise RuntimeError("the capture was invalidated")  # noqa: B904, as torch does

    def install(self, monkeypatch: pytest.MonkeyPatch) -> CudaGraphs:
        stand_ins = {
            "Stream": lambda device: "side", "current_stream": lambda device: "main", "graph": self.graph,
            "set_stream": self.streams.append, "CUDAGraph": Graph, "device": lambda device: nullcontext(),
            "get_sync_debug_mode": lambda: 2, "set_sync_debug_mode": self.modes.append,
        }  # fmt: skip
        for name, value in stand_ins.items():
            monkeypatch.setattr(torch.cuda, name, value)
        return CudaGraphs(DEVICE)


@pytest.fixture
def cuda() -> Cuda:
    return Cuda()


def test_a_trial_names_the_first_place_that_waits(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    def body() -> None:
        warnings.warn_explicit(
            "called a synchronizing CUDA operation (Triggered internally)", UserWarning, "loss.py", 3
        )
        warnings.warn_explicit(
            "called a synchronizing CUDA operation (Triggered internally)", UserWarning, "loss.py", 9
        )
        warnings.warn_explicit("something else", UserWarning, "other.py", 1)

    with pytest.warns(UserWarning, match="something else") as others:
        assert cuda.install(monkeypatch).trial(body) == "it waits for the device at loss.py:3"
    assert len(others) == 1
    assert cuda.modes == ["warn", 2]


@pytest.mark.filterwarnings("error")
def test_a_trial_that_does_not_wait(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch says of the mode itself that it is a prototype."""

    def body() -> None:
        warnings.warn_explicit("Synchronization debug mode is a prototype feature", UserWarning, "torch.py", 1)

    assert cuda.install(monkeypatch).trial(body) == ""


def test_the_mode_is_restored_after_an_error(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        cuda.install(monkeypatch).trial(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert cuda.modes == ["warn", 2]


def test_captures_share_their_memory_until_they_are_forgotten(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, generators, calls = cuda.install(monkeypatch), [Generator(), Generator()], []
    for _ in range(2):
        replay: Any = graphs.capture(lambda: calls.append(1), generators)  # type: ignore[arg-type]
    graphs.forget()
    graphs.capture(lambda: None, generators)  # type: ignore[arg-type]
    assert cuda.pools == [None, "pool", None]
    assert replay.__self__.generators == generators
    replay()
    assert (replay.__self__.replays, calls) == (1, [1, 1])


def test_a_capture_that_breaks_off_leaves_everything_as_it_was(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why it broke off, not that it did."""
    generators: Sequence[Any] = [Generator()]
    with pytest.raises(ZeroDivisionError):
        cuda.install(monkeypatch).capture(lambda: 1 / 0, generators)  # type: ignore[arg-type, return-value]
    assert cuda.streams == ["main"]
    fresh, again = generators[0].replaced_by, torch.Generator().manual_seed(7)
    assert fresh is not generators[0].own
    assert torch.equal(torch.rand(5, generator=fresh), torch.rand(5, generator=again))
