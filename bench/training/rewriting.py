"""Rewrites the graph of a written-out function so that it costs less and gives the same bits."""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
from torch import Tensor, fx

_ATEN = torch.ops.aten
_SHAPES = (_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.expand.default)
_TRANSPOSE = _ATEN.transpose.int
_ELEMENTWISE = (_ATEN.add.Tensor, _ATEN.mul.Tensor)
_BACKWARD = "grad_input"  # of gradients of activations, the name of the argument in which the result is wanted
_ALIASES = (_ATEN.alias.default, _ATEN.detach.default)


def simplify(graph: fx.Graph) -> None:
    """Drops operations that give back their argument, repeat an earlier one, or have no use."""
    pure = not any(_changes_arguments(node) for node in graph.nodes)
    seen: dict[Any, fx.Node] = {}
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        if _gives_back(node, pure):
            node.replace_all_uses_with(node.args[0])
        elif pure:
            first = seen.setdefault(_operation(node), node)
            if first is not node:
                node.replace_all_uses_with(first)
    graph.eliminate_dead_code()


def _operation(node: fx.Node) -> tuple[Any, ...]:
    """The same for two nodes that compute the same."""
    if node.target in _SHAPES:  # their sizes may be written as -1
        return node.target, node.args[0], node.meta["val"].shape
    return node.target, repr(node.args), repr(node.kwargs)


def turn_products(graph: fx.Graph) -> None:
    """(A B)^T becomes B^T A^T where that gives the same bits.

    Under `vmap` the gradient of a weight matrix arrives transposed, and whatever reads or stores it is slow. Products
    that are used in any other way stay: another order in memory may change the bits of a sum.
    """
    for node in graph.find_nodes(op="call_function", target=_TRANSPOSE):
        product: Any = node.args[0]
        matrices = node.args[1:] == (1, 2) and product.target is _ATEN.bmm.default and len(product.users) == 1
        if matrices and _only_stored(node) and _may_turn(product):
            with graph.inserting_before(product):
                factors = tuple(_transposed(graph, factor) for factor in reversed(product.args))
                turned = graph.call_function(_ATEN.bmm.default, factors)
            turned.meta = dict(node.meta)
            node.replace_all_uses_with(turned)
            _lie_row_by_row(turned)
    graph.eliminate_dead_code()


def _lie_row_by_row(node: fx.Node) -> None:
    """Notes how the result, and whatever is computed from it, now lies in memory."""
    val = node.meta["val"]
    node.meta["val"] = val.new_empty(val.shape)
    for user in node.users:
        if user.op != "output":
            _lie_row_by_row(user)


def reuse_memory(graph: fx.Graph) -> None:
    """An operation on single elements writes over an argument that nobody reads afterwards.

    New memory has to be fetched before it is written: for tensors of some megabytes that is half of the time.
    """
    position = {node: i for i, node in enumerate(graph.nodes)}
    new = {node for node in graph.nodes if is_new(node)}
    for node in graph.nodes:
        changing = _in_place(node)
        if changing is None:
            continue
        either_order = node.target in _ELEMENTWISE and len(node.args) == 2 and not node.kwargs
        for args in (node.args, node.args[::-1]) if either_order else (node.args,):
            if _is_free(args[0], node, position, new):
                node.target, node.args = changing, args
                if changing._overloadname == _BACKWARD:
                    node.kwargs = {_BACKWARD: args[0]}
                break


def _in_place(node: fx.Node) -> Any:
    """The form of an operation on single elements that writes over its first argument."""
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload) or torch.Tag.pointwise not in target.tags:
        return None
    if _BACKWARD in target.overloadpacket.overloads():
        return getattr(target.overloadpacket, _BACKWARD)
    packet = getattr(_ATEN, target._schema.name.removeprefix("aten::") + "_", None)
    return getattr(packet, target._overloadname, None)


def _is_free(value: Any, user: fx.Node, position: Mapping[fx.Node, int], new: Set[fx.Node]) -> bool:
    """Whether `user` is the last to read a tensor that has memory of its own, in the form of the result."""
    if value not in new or not value.users.keys() <= new:
        return False
    before, after = value.meta["val"], user.meta["val"]
    same = (before.shape, before.stride(), before.dtype) == (after.shape, after.stride(), after.dtype)
    return same and max(position[node] for node in value.users) == position[user]


def is_new(node: fx.Node) -> bool:
    """Whether an operation's one result is a tensor that shares no memory with its arguments."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target in _SHAPES:
        return False
    if not isinstance(node.meta["val"], Tensor):
        return False
    returns = target._schema.returns
    return len(returns) == 1 and returns[0].alias_info is None


def shares_memory(user: fx.Node, node: fx.Node) -> bool:
    """Whether the result of `user` may lie in the memory of its argument `node`."""
    if not isinstance(user.target, torch._ops.OpOverload):
        return True
    if user.target in _SHAPES:
        return True
    arguments = {argument.name: argument for argument in user.target._schema.arguments}
    given = dict(zip(arguments, user.args, strict=False)) | user.kwargs
    return any(value is node and arguments[name].alias_info is not None for name, value in given.items())


def call_directly(graph: fx.Graph) -> None:
    """Operations by torch's own functions and methods, whose calls cost half as much as those of `torch.ops`."""
    for node in graph.nodes:
        if not isinstance(node.target, torch._ops.OpOverload) or node.kwargs:
            continue
        name = node.target._schema.name.removeprefix("aten::")
        if isinstance(getattr(torch, name, None), BuiltinFunctionType):
            node.target = getattr(torch, name)
        elif isinstance(getattr(Tensor, name, None), MethodDescriptorType):
            node.op, node.target = "call_method", name


def _only_stored(node: fx.Node) -> bool:
    """Whether nothing but sums and products of elements stand between the node and the results."""
    return all(user.op == "output" or (user.target in _ELEMENTWISE and _only_stored(user)) for user in node.users)


def _may_turn(product: fx.Node) -> bool:
    """Whether this machine's library computes the product and its transpose alike, tried on random numbers."""
    values = [factor.meta["val"] for factor in product.args]  # type: ignore[union-attr]
    if not all(value.is_floating_point() for value in values):
        return False
    generator = torch.Generator(values[0].device).manual_seed(0)
    a, b = (_random(value, generator) for value in values)
    return torch.equal(torch.bmm(a, b).mT, torch.bmm(b.mT, a.mT))


def _random(like: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers in the same places of memory as the elements of `like`, which may share some."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(like.shape, like.stride(), strict=True))
    numbers = torch.empty(extent, dtype=like.dtype, device=like.device).normal_(generator=generator)
    return numbers.as_strided(like.shape, like.stride())


def _transposed(graph: fx.Graph, factor: fx.Node) -> Any:
    if factor.target is _TRANSPOSE and factor.args[1:] == (1, 2):
        return factor.args[0]
    turned = graph.call_function(_TRANSPOSE, (factor, 1, 2))
    turned.meta["val"] = factor.meta["val"].mT
    return turned


def _gives_back(node: fx.Node, pure: bool) -> bool:
    if node.target in _ALIASES:
        return True
    if node.target not in _SHAPES and node.target is not _ATEN.pow.Tensor_Scalar:
        return False
    before, after = node.args[0].meta["val"], node.meta["val"]  # type: ignore[union-attr]
    if node.target in _SHAPES:
        return bool(before.shape == after.shape)
    # a power is a copy: what it copies may not change, nor lie elsewhere in memory
    same = before.dtype == after.dtype and before.stride() == after.stride()
    return pure and bool(node.args[1] == 1) and same


def _changes_arguments(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and bool(node.target._schema.is_mutable)
