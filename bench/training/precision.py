"""How exactly a device computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch.utils._pytree import tree_map

PrecisionName = Literal["fp32", "tf32", "bf16"]
# By type of device, what a run is trained in that names none. A faster one belongs here once a comparison paired by
# seed has shown on a GPU that it leaves results as they are: a run's id does not tell the default's past from it.
DEFAULTS: dict[str, PrecisionName] = {"cpu": "fp32", "cuda": "fp32"}


@dataclass(frozen=True)
class Precision:
    """`fp32`; on a GPU also `tf32` or `bf16`.

    tf32: matrix products and convolutions round what they read to ten bits after the point. bf16: losses and
    predictions are computed in bfloat16 wherever torch's autocast holds that it does no harm. Weights, gradients,
    optimisers, averages and sums are float32 with all of them.
    """

    name: PrecisionName = "fp32"
    device: str = "cpu"  # its type

    def __post_init__(self) -> None:
        if self.name not in get_args(PrecisionName):
            raise ValueError(f"precision {self.name!r} is none of {', '.join(get_args(PrecisionName))}")
        if self.device == "cpu" and self.name != "fp32":
            raise ValueError(f"precision {self.name!r} needs a GPU: a CPU computes in fp32")

    @contextmanager
    def kernels(self) -> Iterator[None]:
        """Whatever is computed here, forward or backward: TF32 as told, where torch's own rule is on and off."""
        if self.device == "cpu":
            yield
            return
        switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
        before = [switch.allow_tf32 for switch in switches]
        try:
            for switch in switches:
                switch.allow_tf32 = self.name == "tf32"
            yield
        finally:
            for switch, value in zip(switches, before, strict=True):
                switch.allow_tf32 = value

    def forward(self) -> AbstractContextManager[Any]:
        """Where a loss or predictions are computed, without going backward."""
        if self.name != "bf16":
            return nullcontext()
        # no cache: it would hold a captured step's own copies of weights beyond the step
        return torch.autocast(self.device, torch.bfloat16, cache_enabled=False)

    def widened(self, tree: Any) -> Any:
        """What comes out of `forward`, with every bfloat16 as float32."""
        return tree_map(_widened, tree) if self.name == "bf16" else tree


FP32 = Precision()


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
