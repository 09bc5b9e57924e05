"""One block of memory for the intermediate results of a written-out function."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx

from bench.training.arena import Piece, pack
from bench.training.tracing import Repeated, write_out

INFINITE = float("inf")


def memories(module: Any) -> dict[str, Tensor]:
    """Where each operation that was told a place writes."""
    assert isinstance(module, fx.GraphModule)
    return {n.name: getattr(module, n.kwargs["out"].target) for n in module.graph.nodes if "out" in n.kwargs}


def test_intermediate_results_lie_in_one_block_and_results_do_not() -> None:
    def chain(x: Tensor, y: Tensor) -> Tensor:
        first = x @ y
        return (first.sum(0) + first.mean(0)) @ (first @ y)

    x, y = torch.randn(8, 8), torch.randn(8, 8)
    written = write_out(chain, (x, y))
    places = memories(written)
    assert len(places) == 4  # two products, a sum and a mean; the last product is the result
    assert len({place.untyped_storage().data_ptr() for place in places.values()}) == 1
    result = written(x, y)
    kept = result.clone()
    assert torch.equal(result, chain(x, y))
    written(y, x)
    assert torch.equal(result, kept)


def test_results_that_are_never_needed_together_share_a_place() -> None:
    written = write_out(lambda x: (((x @ x) @ x) @ x) @ x, (torch.randn(16, 16),))
    first, second, third = memories(written).values()
    assert first.data_ptr() == third.data_ptr() != second.data_ptr()


def view_read_late(x: Tensor) -> Tensor:
    first = x @ x
    view = first.view(-1)[::2]
    return ((x @ x.mT) @ x).sum() + view.sum()


def parts_read_late(x: Tensor) -> Tensor:
    low, high = (x @ x).split([5, 11])
    return ((x @ x.mT) @ x).sum() + low.sum() * high.sum()


def changed_later(x: Tensor) -> Tensor:
    first = x @ x
    alias = first.add_(1).mT
    return ((x @ x.mT) @ x).sum() + alias.sum()


def result_is_a_view(x: Tensor) -> Any:
    return (x @ x)[0], ((x @ x.mT) @ x) @ x


def other_types(x: Tensor) -> Tensor:
    positive = x @ x > 0
    return (x @ x.mT).argmax(0) + positive.sum(0) + (x @ x @ x).argmin(0)


def transposed_result(x: Tensor) -> Tensor:
    return (x.mT.tanh() @ x).mT.tanh() @ x


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize(
    "function", [view_read_late, parts_read_late, changed_later, result_is_a_view, other_types, transposed_result]
)
def test_no_place_is_written_while_it_is_needed(function: Callable[..., Any]) -> None:
    repeated = Repeated(function, 0, function.__name__)
    for _ in range(3):
        x = torch.randn(16, 16)
        torch.testing.assert_close(repeated(x), function(x), rtol=0, atol=0)
    assert memories(repeated.current.__wrapped__)


def test_what_outlives_the_call_gets_no_place() -> None:
    written = write_out(result_is_a_view, (torch.randn(16, 16),))
    row, product = written(torch.randn(16, 16))
    block = next(iter(memories(written).values())).untyped_storage().data_ptr()
    assert block not in {row.untyped_storage().data_ptr(), product.untyped_storage().data_ptr()}


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20), st.integers(0, 9)), max_size=25))
def test_packed_pieces_do_not_overlap_while_they_are_needed(drawn: list[tuple[int, int, int]]) -> None:
    nodes = [fx.Graph().placeholder(f"x{i}") for i in range(len(drawn))]
    pieces = [Piece(n, 64 * size, start, start + length) for n, (size, start, length) in zip(nodes, drawn, strict=True)]
    offsets = pack(pieces)
    assert offsets.keys() == set(nodes)
    for a, b in itertools.combinations(pieces, 2):
        if a.start <= b.end and b.start <= a.end:
            assert offsets[a.node] + a.size <= offsets[b.node] or offsets[b.node] + b.size <= offsets[a.node]
    busiest = max((sum(p.size for p in pieces if p.start <= at <= p.end) for at in range(31)), default=0)
    block = max((offsets[p.node] + p.size for p in pieces), default=0)
    assert busiest <= block <= sum(p.size for p in pieces)
