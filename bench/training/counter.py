"""Counters that a captured step can advance."""

from __future__ import annotations

import torch
from torch import Tensor


def one_more(number: float | Tensor, device: torch.device | None) -> int | Tensor:
    """A counter after one more event: an integer, or where a `device` counts by itself, a number there, `[]`.

    A captured operation keeps the numbers of the host that it was captured with, and reads those of the device anew.
    """
    if device is None:
        return int(number) + 1
    if not isinstance(number, Tensor):  # the first event, or the first after loading
        number = torch.full((), float(number), dtype=torch.float64, device=device)
    return number.add_(1)
