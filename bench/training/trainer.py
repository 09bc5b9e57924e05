"""The loop that trains a cohort."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from bench.datasets import Dataset, Split
from bench.streams import torch_generator
from bench.training import noise, optimiser
from bench.training.allocator import keep_freed_memory
from bench.training.batches import Batches
from bench.training.capture import Captured, CudaGraphs, Graphs
from bench.training.curves import Curves
from bench.training.ema import Average
from bench.training.evaluation import Evaluator
from bench.training.executor import assemble, choose, of_run
from bench.training.historical import History
from bench.training.initial import initial_networks
from bench.training.precision import Precision, PrecisionName
from bench.training.schedule import Schedule
from bench.training.sums import Sums
from bench.variant import Phase, Player, Variant

PART = 5000  # images at once, where all are looked at


class Trainer:
    """A cohort in training: runs of one variant, dataset and recipe, which differ in seed or label budget.

    `step()` advances every run by one step, `evaluate()` adds one point to the curves. Nothing in a step waits for the
    device: losses are summed there, and a run whose loss is not finite is marked there, with the step. On a GPU most
    steps are replays of a captured one (`bench.training.capture`).
    """

    def __init__(
        self,
        variant: Variant,
        dataset: Dataset,
        splits: Sequence[Split],
        seeds: Sequence[int],
        steps: int,
        device: torch.device,
        precision: PrecisionName = "fp32",
        graphs: Graphs | None = None,
    ) -> None:
        """`graphs`: what captures the steps; where none is given, a GPU captures them, a CPU does not.

        Raises:
            ValueError: the device does not compute in this precision.
        """
        keep_freed_memory()
        self.variant, self.dataset, self.splits, self.device = variant, dataset, splits, device
        self.runs, self.seeds = len(seeds), list(seeds)
        self.precision = Precision(precision, device.type)
        self.schedule = Schedule(variant.phases(), steps, variant.recipe.evaluations)
        self.images = dataset.train_images.to(device)
        self.batches = Batches(variant.draws(), dataset, splits, seeds, device, self.images)
        parts = (dataset.scale(part) for part in self.images.split(PART))
        variant.constant = {name: value.to(device) for name, value in variant.constants(parts).items()}
        with self.precision.kernels():
            self.networks = initial_networks(variant, dataset, splits, seeds, device, self.images)
        self.executor = choose(self.networks, device, self.precision)
        self.generators = [torch_generator(device, seed, "noise") for seed in seeds]
        self.state = {name: torch.stack([value] * self.runs).to(device) for name, value in variant.state().items()}
        self.averages: dict[str, Average] = {}
        # whether any phase keeps one: points before the first such phase then show the weights themselves
        self.averaged = any(player.ema for phase in self.schedule.phases for player in phase.players)
        self.optimisers: dict[str, torch.optim.Optimizer] = {}  # by player
        self.owned: dict[str, tuple[str, ...]] = {}  # by player: the networks that its optimiser moves
        self.histories: dict[str, list[History]] = {}  # by player
        self.lengths: dict[int, noise.Lengths] = {}  # of the tape that a loss reads, by the loss's `id`
        self.evaluator = Evaluator(variant, dataset, splits, self.networks, self.averages, self.executor, device)
        self.at = 0
        # the same to the device: progress in 0..1, which losses read, and the step
        self.progress, self.now = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
        self.phase: Phase | None = None
        self.logs = Sums()
        graphs = CudaGraphs(device) if graphs is None and device.type == "cuda" else graphs
        self.capturable = graphs is not None  # even where no capture has succeeded: states stay of one kind
        self.captured = Captured(graphs, self.generators, f"variant {variant.name!r}")
        self.diverged_at = torch.full((self.runs,), -1, dtype=torch.int64, device=device)
        self.curves = Curves()
        self.seconds = 0.0
        # runs of several budgets may train together, so no loss may read one: None fails loudly in any arithmetic
        variant.task = replace(variant.task, labelled=None, unlabelled=None)  # type: ignore[arg-type]

    # --- one step ---

    def step(self) -> None:
        phase = self.schedule.phase(self.at)
        if phase is not self.phase:
            self.enter(phase)
        due = [player for player in phase.players if self.at % player.every == 0]
        self._prepare(due)
        key = tuple(player.name for player in due)
        constants = tuple(optimiser.constants(self.optimisers[player.name]) for player in phase.players)
        with self.precision.kernels():
            self.logs.count(self.captured(key, constants, partial(self._body, due)))
        self.at += 1

    def _prepare(self, due: Sequence[Player]) -> None:
        """The host's part: puts what changes from step to step where the device's part reads it."""
        progress = self.at / self.schedule.steps
        self.batches.advance(self.schedule.steps - self.at)
        self.progress.fill_(progress)
        self.now.fill_(self.at)
        for player in due:
            optimiser.set_rates(self.optimisers[player.name], player, progress)

    def _body(self, due: Sequence[Player]) -> list[str]:
        """The device's part: the same operations in all steps of a phase in which the same players are due.

        Returns: the names of what was logged, as often as it was.
        """
        batch = self.batches.gather()
        return [name for player in due for _ in range(player.repeat) for name in self._update(player, batch)]

    def enter(self, phase: Phase) -> None:
        """Makes what the phase's players need and have not yet: optimisers, averages, histories.

        Loading a state, which replaces some of them, comes by here, too.
        """
        self.phase = phase
        self.captured.forget()
        for player in phase.players:
            if player.name in phase.fresh or player.name not in self.optimisers:
                flats = [self.networks[name].flat for name in player.networks]
                self.optimisers[player.name] = optimiser.build(player.optimiser, flats, player.lr, self.capturable)
                self.owned[player.name] = player.networks
            if player.ema:
                for name in player.networks:
                    self.averages.setdefault(name, Average(player.ema, self.networks[name], self.capturable))
            if player.historical_weight and player.name not in self.histories:
                self.histories[player.name] = [
                    History(player.historical_weight, self.networks[name], self.capturable) for name in player.networks
                ]

    def _update(self, player: Player, batch: Any) -> list[str]:
        tape = noise.record(self.generators, self._tape_lengths(player.loss, batch), self.device)
        losses, logs, state = self.executor.losses(
            player.loss, frozenset(player.networks), batch, tape, self.state, self.progress
        )
        histories = self.histories.get(player.name, [])
        for history in histories:
            history.pull()
        self.optimisers[player.name].step()
        for history in histories:
            history.update()
        for name in player.networks if player.ema else ():
            self.averages[name].update()
        for name, value in {name: value.clone() for name, value in state.items()}.items():  # they may alias each other
            self.state[name].copy_(value)
        failed = (self.diverged_at < 0) & ~torch.isfinite(losses)
        self.diverged_at.copy_(torch.where(failed, self.now, self.diverged_at))
        return self.logs.add({f"{player.name}/{name}": value for name, value in {"loss": losses, **logs}.items()})

    def _tape_lengths(self, loss: Callable[..., Any], batch: Any) -> noise.Lengths:
        """How much noise a loss reads: one dry pass on a copy of the first run."""
        if id(loss) not in self.lengths:
            tensors = {
                name: {k: v[0].clone() for k, v in (net.parameters | net.buffers).items()}
                for name, net in self.networks.items()
            }
            first, state = of_run((batch, self.state), 0)
            nets = assemble(self.networks, tensors)
            self.lengths[id(loss)] = noise.measure(lambda n: loss(nets, first, n, state, self.progress), self.device)
        return self.lengths[id(loss)]

    # --- evaluation ---

    def evaluate(self) -> None:
        """Adds a point to the curves: test errors, validation errors where there is such a split, mean losses."""
        broken = torch.stack([~net.finite() for net in self.networks.values()]).any(0)
        self.diverged_at.copy_(torch.where((self.diverged_at < 0) & broken, self.at, self.diverged_at))
        point: dict[str, list[int]] = {}
        for kind, averaged in (("raw", False), ("ema", True)) if self.averaged else (("raw", False),):
            point[kind] = self.evaluator.test(averaged)
            if self.evaluator.validation:
                point[f"validation_{kind}"] = self.evaluator.validate(averaged)
        self.curves.add(self.at, self.seconds, point, self.logs.means())
        self.logs.reset()

    def train(self, report: Callable[[Trainer], None] = lambda trainer: None) -> None:
        """Trains to the end of the schedule, evaluating on the way; `report` is called after every step."""
        while self.at < self.schedule.steps:
            start = time.perf_counter()
            self.step()
            due = self.at in self.schedule.evaluations
            if due and self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.seconds += time.perf_counter() - start
            if due:
                self.evaluate()
            report(self)
