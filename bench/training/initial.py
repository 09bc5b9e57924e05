"""The networks of a cohort before its first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from bench.datasets import Dataset, Split
from bench.streams import torch_generator
from bench.training import noise, storage
from bench.training.batches import Batches
from bench.training.executor import of_run
from bench.variant import Noise, Variant


def initial_networks(
    variant: Variant,
    dataset: Dataset,
    splits: Sequence[Split],
    seeds: Sequence[int],
    device: torch.device,
    images: Tensor,
) -> dict[str, storage.StackedNetwork]:
    """The networks of all runs; `images` are those of the training set, on the device."""
    constructors = variant.networks()
    draws = {f"initial/{name}": draw for name, draw in variant.initial_draws().items()}
    batch = Batches(draws, dataset, splits, seeds, device, images).next(1)
    modules = []
    for run, seed in enumerate(seeds):
        nets = SimpleNamespace(
            **{name: storage.build(make, seed, name).to(device) for name, make in constructors.items()}
        )
        own = {name.removeprefix("initial/"): of_run(value, run) for name, value in batch.items()}
        _initialise(variant, nets, own, seed, device)
        modules.append(nets)
    return {
        name: storage.StackedNetwork(storage.template(make), [getattr(m, name) for m in modules], device)
        for name, make in constructors.items()
    }


def _initialise(
    variant: Variant, nets: SimpleNamespace, batch: Mapping[str, Any], seed: int, device: torch.device
) -> None:
    """Runs the variant's data-dependent initialisation, once on a copy to measure the noise that it reads."""
    if not batch:
        return
    untouched = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in vars(nets).items()}
    lengths = noise.measure(lambda n: variant.initialise(nets, batch, n), device)
    for name, net in vars(nets).items():
        net.load_state_dict(untouched[name])
    tape = noise.record([torch_generator(device, seed, "noise", "initial")], lengths, device)
    variant.initialise(nets, batch, Noise(tape.normal[0], tape.uniform[0]))
