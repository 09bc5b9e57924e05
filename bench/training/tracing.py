"""A function of tensors that is called over and over, written out as a list of operations.

`vmap` and autograd decide anew in every step what to call, which for tiny networks costs as much as the arithmetic; and
every result gets memory of its own, which for large ones costs a tenth of the time. The list makes the same calls in
the same order, less those that give back what they were given or repeat an earlier one: every number keeps its bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from bench.errors import shorten
from bench.training.arena import place
from bench.training.rewriting import call_directly, reuse_memory, simplify, turn_products

TRACE_AFTER = 100  # calls; to write a function out costs as much as some ten to thirty of them


class Repeated:
    """Calls `function`, from call `after` + 1 on as written out.

    All arguments are tensors (in any nesting of dictionaries and tuples) whose shapes never change; what the function
    changes in place are its arguments. It is written out from other numbers than those of the call, and both ways are
    compared bit for bit: where they differ, because the function depends on something else than its arguments or reads
    a number off them, it stays as it is, with a warning that names it.
    """

    def __init__(self, function: Callable[..., Any], after: float, name: str) -> None:
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
            problem = f"it cannot be traced: {shorten(error, 60)}"
        if problem:
            warnings.warn(f"Training goes on without tracing {self.name}: {problem}", stacklevel=2)
        else:
            self.current = written
        return result


def write_out(function: Callable[..., Any], args: Any) -> Callable[..., Any]:
    """The operations that `function` calls on these arguments, which it may change; to be called without autograd."""
    from torch.fx.experimental.proxy_tensor import make_fx  # a slow import

    module = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*args)
    simplify(module.graph)
    turn_products(module.graph)
    reuse_memory(module.graph)
    place(module)
    call_directly(module.graph)
    module.recompile()
    return module


def _copied(tree: Any) -> Any:
    return tree_map(lambda tensor: tensor.detach().clone(), tree)


def _other_number(tensor: Tensor) -> Tensor:
    """Another number for a number: one that is read off it would stay in the list. No other tensor can be read."""
    return tensor / 2 + 0.25 if tensor.dim() == 0 and tensor.is_floating_point() else tensor


def _equal(a: Any, b: Any) -> bool:
    pairs: Iterable[tuple[Tensor, Tensor]] = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return all(
        x.dtype == y.dtype and x.shape == y.shape and bool(torch.all((x == y) | (x.isnan() & y.isnan())))
        for x, y in pairs
    )
