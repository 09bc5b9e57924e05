"""Named streams of random numbers: every use of chance has its own, derived from the run's seed.

A stream is keyed by what it is for, never by how many numbers something else has drawn. A further network, player or
draw therefore moves no other number, and the labelled split of a seed is the same for every variant.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

import numpy as np
import torch

Purpose = Literal["split", "pool", "init", "batches", "noise", "tuning"]


def stream(seed: int, purpose: Purpose, *axes: str | int) -> int:
    """The 63-bit key of a stream: a hash of the seed, the purpose and whatever else tells streams apart."""
    text = json.dumps([seed, purpose, *axes])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, purpose: Purpose, *axes: str | int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(stream(seed, purpose, *axes)))


def torch_generator(device: torch.device | str, seed: int, purpose: Purpose, *axes: str | int) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(stream(seed, purpose, *axes))
