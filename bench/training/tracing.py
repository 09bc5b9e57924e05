"""A function of tensors that is called over and over, written out as a list of operations.

`vmap` and autograd decide anew in every step what to call; for tiny networks that costs as much as the arithmetic. The
list makes the same calls in the same order, less those that give back what they were given or repeat an earlier one:
every number keeps its bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Set
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves, tree_map

from bench.errors import shorten

TRACE_AFTER = 100  # calls; to write a function out costs as much as some ten to thirty of them

_ATEN = torch.ops.aten
_SHAPES = (_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.expand.default)
_TRANSPOSE = _ATEN.transpose.int
_ELEMENTWISE = (_ATEN.add.Tensor, _ATEN.mul.Tensor)
_BACKWARD = "grad_input"  # of gradients of activations, the name of the argument in which the result is wanted
_ALIASES = (_ATEN.alias.default, _ATEN.detach.default)


class Repeated:
    """Calls `function`, from call `after` + 1 on as written out.

    All arguments are tensors (in any nesting of dictionaries and tuples) whose shapes never change; what the function
    changes in place are its arguments. It is written out from other numbers than those of the call, and both ways are
    compared bit for bit: where they differ, because the function depends on something else than its arguments or reads
    a number off them, it stays as it is, with a warning that names it.
    """

    def __init__(self, function: Callable[..., Any], after: int, name: str) -> None:
        self.function, self.after, self.name = function, after, name
        self.current, self.calls = function, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self._write_out(args) if self.calls == self.after + 1 else self.current(*args)

    def _write_out(self, args: Any) -> Any:
        copies = _copied(args)
        result = self.function(*args)
        try:
            written = torch.no_grad()(write_out(self.function, tree_map(_other_number, _copied(copies))))
            problem = "" if _equal((written(*copies), copies), (result, args)) else "traced, it gives other numbers"
        except Exception as error:  # a shortcut: whatever it cannot do may not stop a training run
            problem = shorten(error, 200)
        if problem:
            warnings.warn(f"Training goes on without tracing {self.name}: {problem}", stacklevel=2)
        else:
            self.current = written
        return result


def write_out(function: Callable[..., Any], args: Any) -> Callable[..., Any]:
    """The operations that `function` calls on these arguments, which it may change; to be called without autograd."""
    from torch.fx.experimental.proxy_tensor import make_fx  # a slow import

    module = make_fx(function)(*args)
    simplify(module.graph)
    turn_products(module.graph)
    reuse_memory(module.graph)
    call_directly(module.graph)
    module.recompile()
    return module


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
            first = seen.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
            if first is not node:
                node.replace_all_uses_with(first)
    graph.eliminate_dead_code()


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
    node.meta["val"] = torch.empty(val.shape, dtype=val.dtype, device="meta")
    for user in node.users:
        if user.op != "output":
            _lie_row_by_row(user)


def reuse_memory(graph: fx.Graph) -> None:
    """An operation on single elements writes over an argument that nobody reads afterwards.

    New memory has to be fetched before it is written: for tensors of some megabytes that is half of the time.
    """
    position = {node: i for i, node in enumerate(graph.nodes)}
    new = {node for node in graph.nodes if _is_new(node)}
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


def _is_new(node: fx.Node) -> bool:
    """Whether an operation's one result shares no memory with its arguments."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target in _SHAPES:
        return False
    returns = target._schema.returns
    return len(returns) == 1 and returns[0].alias_info is None


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
    return graph.call_function(_TRANSPOSE, (factor, 1, 2))


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


def _copied(tree: Any) -> Any:
    return tree_map(lambda tensor: tensor.detach().clone(), tree)


def _other_number(tensor: Tensor) -> Tensor:
    """A number for a number: the only tensors that a stacked loss can read are those that all runs share."""
    return tensor / 2 + 0.25 if tensor.dim() == 0 and tensor.is_floating_point() else tensor


def _equal(a: Any, b: Any) -> bool:
    pairs: Iterable[tuple[Tensor, Tensor]] = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return all(
        x.dtype == y.dtype and x.shape == y.shape and bool(torch.all((x == y) | (x.isnan() & y.isnan())))
        for x, y in pairs
    )
