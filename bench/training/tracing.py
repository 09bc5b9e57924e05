"""A function of tensors that is called over and over, written out as a list of operations.

`vmap` and autograd decide anew in every step what to call; for tiny networks that costs as much as the arithmetic. The
list makes the same calls in the same order, less those that give back what they were given or repeat an earlier one:
every number keeps its bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves, tree_map

from bench.errors import shorten

TRACE_AFTER = 100  # calls; to write a function out costs as much as some ten to thirty of them

_ATEN = torch.ops.aten
_SHAPES = (_ATEN.view.default, _ATEN._unsafe_view.default, _ATEN.expand.default)
_TRANSPOSE = _ATEN.transpose.int
_ALIASES = (_ATEN.alias.default, _ATEN.detach.default)


class Repeated:
    """Calls `function`, from call `after` + 1 on as written out.

    All arguments are tensors (in any nesting of dictionaries and tuples) whose shapes never change; what the function
    changes in place are its arguments. When it is written out, both ways are compared bit for bit: where they differ,
    because the function depends on something else than its arguments, it stays as it is, with a warning.
    """

    def __init__(self, function: Callable[..., Any], after: int) -> None:
        self.function, self.after = function, after
        self.current, self.calls = function, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self._write_out(args) if self.calls == self.after + 1 else self.current(*args)

    def _write_out(self, args: Any) -> Any:
        copies = _copied(args)
        result = self.function(*args)
        try:
            written = torch.no_grad()(write_out(self.function, _copied(copies)))
            same = _equal((written(*copies), copies), (result, args))
        except Exception as error:  # a shortcut: whatever it cannot do may not stop a training run
            warnings.warn(f"Training goes on without tracing a loss: {shorten(error, 200)}", stacklevel=2)
        else:
            if same:
                self.current = written
            else:
                warnings.warn("Training goes on without tracing a loss, which gave other numbers traced", stacklevel=2)
        return result


def write_out(function: Callable[..., Any], args: Any) -> Callable[..., Any]:
    """The operations that `function` calls on these arguments, which it may change; to be called without autograd."""
    from torch.fx.experimental.proxy_tensor import make_fx  # a slow import

    module = make_fx(function)(*args)
    simplify(module.graph)
    turn_products(module.graph)
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

    Under `vmap` the gradient of a weight matrix arrives transposed, and everything that reads it is slow.
    """
    for node in graph.find_nodes(op="call_function", target=_TRANSPOSE):
        product: Any = node.args[0]
        if node.args[1:] == (1, 2) and product.target is _ATEN.bmm.default and _may_turn(product):
            with graph.inserting_before(node):
                factors = tuple(_transposed(graph, factor) for factor in reversed(product.args))
                node.replace_all_uses_with(graph.call_function(_ATEN.bmm.default, factors))
    graph.eliminate_dead_code()


def _may_turn(product: fx.Node) -> bool:
    """Whether this machine's library computes the product and its transpose alike, tried on random numbers."""
    factors = [factor.meta["val"] for factor in product.args]  # type: ignore[union-attr]
    generator = torch.Generator(factors[0].device).manual_seed(0)
    a, b = (torch.empty_strided(f.shape, f.stride(), device=f.device).normal_(generator=generator) for f in factors)
    return torch.equal(torch.bmm(a, b).mT, torch.bmm(b.mT, a.mT))


def _transposed(graph: fx.Graph, factor: fx.Node) -> Any:
    if factor.target is _TRANSPOSE and factor.args[1:] == (1, 2):
        return factor.args[0]
    return graph.call_function(_TRANSPOSE, (factor, 1, 2))


def _gives_back(node: fx.Node, pure: bool) -> bool:
    if node.target in _SHAPES:
        before: Any = node.args[0]
        return bool(node.meta["val"].shape == before.meta["val"].shape)
    if node.target is _ATEN.pow.Tensor_Scalar:
        return pure and bool(node.args[1] == 1)  # a copy: what it copies may not change
    return node.target in _ALIASES


def _changes_arguments(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and bool(node.target._schema.is_mutable)


def _copied(tree: Any) -> Any:
    return tree_map(lambda tensor: tensor.detach().clone(), tree)


def _equal(a: Any, b: Any) -> bool:
    pairs: Iterable[tuple[Tensor, Tensor]] = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return all(x.shape == y.shape and bool(torch.all((x == y) | (x.isnan() & y.isnan()))) for x, y in pairs)
