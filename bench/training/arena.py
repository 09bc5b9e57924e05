"""Memory of a written-out function: one block, in which each intermediate result has its place.

Results that are never needed together share a place. So every call works in the same few megabytes, which stay in the
processor's cache, instead of asking the C library for memory that has to be fetched first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import BuiltinFunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from bench.training.rewriting import is_new, shares_memory

ALIGNMENT = 64  # bytes


class Piece(NamedTuple):
    """What an operation writes, and from which to which operation it is needed."""

    node: fx.Node
    size: int  # bytes, a multiple of ALIGNMENT
    start: int
    end: float  # infinite for results of the function


def place(module: fx.GraphModule) -> None:
    """Lets operations on a CPU write their results into one block that belongs to the module.

    Results of the whole function are left alone: they outlive the call.
    """
    pieces = [piece for piece in _pieces(module.graph) if math.isfinite(piece.end) and _writes_where_told(piece.node)]
    offsets = pack(pieces)
    block = torch.empty(max((offsets[piece.node] + piece.size for piece in pieces), default=0), dtype=torch.uint8)
    for node, offset in offsets.items():
        name, value = f"memory_{node.name}", node.meta["val"]
        memory = block[offset : offset + value.numel() * value.dtype.itemsize].view(value.dtype).view(value.shape)
        setattr(module, name, memory)
        with module.graph.inserting_before(node):
            node.kwargs = {"out": module.graph.create_node("get_attr", name)}
        node.target = _function(node)


def pack(pieces: Iterable[Piece]) -> dict[fx.Node, int]:
    """An offset for each piece, largest pieces first, so that none overlaps another that is needed at the same time."""
    placed: list[tuple[int, Piece]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.size):
        offset = 0
        for at, end in sorted((at, at + p.size) for at, p in placed if p.start <= piece.end and piece.start <= p.end):
            if at - offset >= piece.size:
                break
            offset = max(offset, end)
        placed.append((offset, piece))
    return {piece.node: offset for offset, piece in placed}


def _pieces(graph: fx.Graph) -> list[Piece]:
    """Every new result, with the last operation that reads it or anything that shares its memory."""
    position = {node: i for i, node in enumerate(graph.nodes)}
    end: dict[fx.Node, float] = {}
    for node in reversed(graph.nodes):
        ends = [end[user] if shares_memory(user, node) else position[user] for user in node.users]
        end[node] = math.inf if node.op == "output" else max(ends, default=position[node])
    return [Piece(node, _bytes(node.meta["val"]), position[node], end[node]) for node in position if is_new(node)]


def _bytes(value: Tensor) -> int:
    return -(-value.numel() * value.dtype.itemsize // ALIGNMENT) * ALIGNMENT


def _function(node: fx.Node) -> Any:
    return getattr(torch, node.target._schema.name.removeprefix("aten::"), None)  # type: ignore[union-attr]


def _without_memory(node: fx.Node) -> Tensor:
    value = node.meta["val"]
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _writes_where_told(node: fx.Node) -> bool:
    """Whether torch's own function of that name takes a place for this very result, tried without numbers."""
    value = node.meta["val"]
    if node.kwargs or value.device.type != "cpu" or not value.is_contiguous():
        return False
    if not isinstance(_function(node), BuiltinFunctionType):
        return False
    try:
        _function(node)(*fx.map_arg(node.args, _without_memory), out=_without_memory(node))
    except (TypeError, RuntimeError):
        return False
    return True
