"""Checks on what a variant may touch: its own networks, its noise, the labels of its budget."""

from __future__ import annotations

import pickle
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.conformance.cases import BUDGET, Case, per_case
from bench.conformance.problem import ConformanceError
from bench.conformance.snapshot import differing, require_same, snapshot, weights
from bench.datasets import Dataset, Examiner, Split
from bench.training.executor import VmapExecutor
from bench.training.schedule import Schedule
from bench.training.trainer import Trainer
from bench.variant import Phase, Player

STEPS = 4
SENTINEL = 7.0


@per_case
def labels(case: Case) -> None:
    """Wrong hidden training labels and wrong test labels change nothing but the test errors themselves."""
    seeds = case.seeds
    dataset, splits = _poisoned(case.dataset, case.splits(seeds))
    honest, poisoned = case.trainer(seeds, STEPS), case.trainer(seeds, STEPS, dataset=dataset, splits=splits)
    honest.train()
    poisoned.train()
    for run, split in enumerate(splits):
        found = [
            {name: value for name, value in snapshot(trainer, run).items() if not name.startswith("test errors")}
            for trainer in (honest, poisoned)
        ]
        require_same(found[0], found[1], "true and wrong hidden labels")
        if not split.labelled.touched <= len(split.labelled) == BUDGET:
            raise ConformanceError(f"{split.labelled.touched} labels touched at a budget of {BUDGET}")


def _poisoned(dataset: Dataset, splits: list[Split]) -> tuple[Dataset, list[Split]]:
    """The same splits, but every label outside the labelled sets, and the test labels, are wrong."""
    keep = np.unique(np.concatenate([split.labelled.indices for split in splits]))
    vault = dataset.vault.poisoned(keep, np.random.default_rng(0))
    wrong = replace(dataset, vault=vault, examiner=Examiner(np.zeros(dataset.n_test, dtype=np.int64)))
    return wrong, [replace(split, labelled=vault.open(split.labelled.indices)) for split in splits]


@per_case
def players(case: Case) -> None:
    """A step of one player changes weights and buffers of its own networks only, and sends no gradient to others."""
    trainer = case.trainer((0, 1), 2)
    for phase in trainer.schedule.phases:
        for player in phase.players:
            _alone(trainer, phase, player)


def _alone(trainer: Trainer, phase: Phase, player: Player) -> None:
    where = f"player {player.name!r} in phase {phase.name!r}"
    if missing := set(player.networks) - set(trainer.networks):
        raise ConformanceError(f"{where} names a network that does not exist: {', '.join(sorted(missing))}")
    foreign = [name for name in trainer.networks if name not in player.networks]
    for name in foreign:
        trainer.networks[name].gradient.fill_(SENTINEL)
    # in the middle of the training, where a rate that starts or ends at 0 is at neither end
    trainer.schedule = Schedule((replace(phase, players=(replace(player, every=1),)),), 2, 1)
    trainer.at = 1
    before = weights(trainer, 1)
    trainer.step()
    changed = [name for name in differing(before, weights(trainer, 1)) if name.split()[0] in trainer.networks]
    if strangers := [name for name in changed if name.split()[0] in foreign]:
        raise ConformanceError(f"{where} changes a network that is not its own: {strangers[0]}")
    if not changed:
        raise ConformanceError(f"{where} changes none of its networks")
    if reached := [name for name in foreign if bool((trainer.networks[name].gradient != SENTINEL).any())]:
        raise ConformanceError(f"{where} sends a gradient into {reached[0]}")


@per_case
def generators(case: Case) -> None:
    """Building and training leave the global generators as they were, and give the same bits whatever their state."""
    found = []
    with _kept_generators():
        for seed in (0, 1):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            before = _generator_states()
            trainer = case.trainer(case.seeds, STEPS)
            _require_untouched(before, "building the networks")
            trainer.train()
            _require_untouched(before, "training")
            found.append(snapshot(trainer, 0))
    require_same(found[0], found[1], "trained twice from the same seed")


def _require_untouched(before: dict[str, Any], doing: str) -> None:
    if moved := [name for name, state in _generator_states().items() if state != before[name]]:
        raise ConformanceError(f"{doing} draws from the global generator of {' and '.join(moved)}; use `noise`")


def _generator_states() -> dict[str, bytes]:
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "NumPy": pickle.dumps(np.random.get_state()),
        "random": pickle.dumps(random.getstate()),
    }


@contextmanager
def _kept_generators() -> Iterator[None]:
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


@per_case
def stacking(case: Case) -> None:
    """Under vmap (which a GPU always takes) no operation falls back to a hidden loop, and no buffer is re-bound."""
    trainer = case.trainer((0, 1), STEPS, executor=VmapExecutor)
    rebound: list[str] = []
    for name, net in trainer.networks.items():
        _watch_buffers(net.template, name, rebound)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    if rebound:
        raise ConformanceError(f"buffer {rebound[0]!r} is re-bound in a loss and loses its value: change it in place")
    if slow := [str(w.message) for w in caught if "There is a performance drop" in str(w.message)]:
        raise ConformanceError(f"slow under vmap: {slow[0].split('. ')[0]}")


def _watch_buffers(template: nn.Module, network: str, rebound: list[str]) -> None:
    """Appends to `rebound` the buffers that are other objects after a call of the network than before it."""
    calls: list[dict[str, Any]] = []

    def enter(module: nn.Module, args: Any) -> None:
        calls.append(dict(module.named_buffers()))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        before, after = calls.pop(), dict(module.named_buffers())
        rebound.extend(f"{network} {name}" for name in before | after if before.get(name) is not after.get(name))

    template.register_forward_pre_hook(enter)
    template.register_forward_hook(leave)
