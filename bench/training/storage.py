"""Where the weights of a cohort live: per network one flat tensor of parameters and one of gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.streams import stream

PADDING = 64  # elements; vectorised kernels treat a ragged end differently, so no run may lie in one


class Place(NamedTuple):
    """Where a module keeps a tensor."""

    holder: dict[str, Any]  # the module's own dictionary of parameters or buffers
    key: str
    own: Tensor  # the template's
    name: str  # in the network; tied tensors have one name and several places


class StackedNetwork:
    """One network of every run of a cohort.

    `flat` holds parameter after parameter, each `[runs, *shape]`; `parameters` are views into it. `gradient` has the
    same layout, so that the optimiser sees one tensor.
    """

    def __init__(self, template: nn.Module, modules: Sequence[nn.Module], device: torch.device) -> None:
        """`template` is the network on the meta device, `modules` the initialised networks of the runs."""
        self.template, self.runs, self.places = template, len(modules), _places(template)
        self.shapes = {name: tuple(p.shape) for name, p in template.named_parameters()}
        size = sum(p.numel() for p in template.parameters()) * self.runs
        self.flat = torch.zeros(-(-size // PADDING) * PADDING, device=device)
        self.gradient = torch.zeros_like(self.flat)
        self.flat.grad = self.gradient
        self.parameters = self.views(self.flat)
        self.buffers = {
            name: torch.stack([dict(m.named_buffers())[name] for m in modules]).to(device)
            for name, _ in template.named_buffers()
        }
        with torch.no_grad():
            for i, module in enumerate(modules):
                for name, value in module.named_parameters():
                    self.parameters[name][i].copy_(value)
        self.gradients = self.views(self.gradient)

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The parameters `[runs, *shape]` inside a tensor of `flat`'s layout."""
        found, start = {}, 0
        for name, shape in self.shapes.items():
            end = start + self.runs * torch.Size(shape).numel()
            found[name] = flat[start:end].view(self.runs, *shape)
            start = end
        return found

    def keep_gradients(self, gradients: Mapping[str, Tensor], run: int | None = None) -> None:
        """Takes over the gradients of all parameters: `[runs, *shape]` each, or those of one run, `[*shape]`."""
        for name, value in gradients.items():
            (self.gradients[name] if run is None else self.gradients[name][run]).copy_(value)

    def finite(self) -> Tensor:
        """For each run, whether all its parameters are finite: bool `[runs]`."""
        checks = [torch.isfinite(p).flatten(1).all(1) for p in self.parameters.values()]
        return torch.stack(checks).all(0)


def _places(template: nn.Module) -> list[Place]:
    names = {id(value): name for name, value in (*template.named_parameters(), *template.named_buffers())}
    holders: list[dict[str, Any]] = [h for m in template.modules() for h in (m._parameters, m._buffers)]
    return [Place(h, key, own, names[id(own)]) for h in holders for key, own in h.items() if own is not None]


def build(constructor: Callable[[], nn.Module], seed: int, name: str) -> nn.Module:
    """A network initialised from its own stream; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "init", name))
        return constructor()


def template(constructor: Callable[[], nn.Module]) -> nn.Module:
    """The network without memory, to be called with a run's tensors: whatever else it holds then fails loudly."""
    with torch.device("meta"), _NoDraws():
        return constructor()


_DRAWS = ("normal_", "uniform_", "kaiming_uniform_")  # of a tensor, and of torch.nn.init where it calls them late


class _NoDraws(TorchFunctionMode):
    """Leaves out random numbers for tensors without memory: torch takes its time to draw none."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in _DRAWS:
            tensor: Tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return function(*args, **kwargs)
