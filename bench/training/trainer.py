"""The loop that trains a cohort."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from bench.datasets import Dataset, Split
from bench.streams import torch_generator
from bench.training import noise, optimiser, storage
from bench.training.allocator import keep_freed_memory
from bench.training.batches import Batches
from bench.training.ema import Average
from bench.training.evaluation import Evaluator
from bench.training.executor import assemble, choose
from bench.training.historical import History
from bench.training.schedule import Schedule
from bench.variant import Adam, Noise, Phase, Player, Variant

PART = 5000  # images at once, where all are looked at


class Trainer:
    """A cohort in training: runs of one variant, dataset and recipe, which differ in seed or label budget.

    `step()` advances every run by one step, `evaluate()` adds one point to the curves. Nothing in a step waits for the
    device: losses are summed there, and a run whose loss is not finite is marked there, with the step.
    """

    def __init__(
        self,
        variant: Variant,
        dataset: Dataset,
        splits: Sequence[Split],
        seeds: Sequence[int],
        steps: int,
        device: torch.device,
    ) -> None:
        keep_freed_memory()
        self.variant, self.dataset, self.splits, self.device = variant, dataset, splits, device
        self.runs, self.seeds = len(seeds), list(seeds)
        self.schedule = Schedule(variant.phases(), steps, variant.recipe.evaluations)
        self.images = dataset.train_images.to(device)
        self.batches = Batches(variant.draws(), dataset, splits, seeds, device, self.images)
        parts = (dataset.scale(part) for part in self.images.split(PART))
        variant.constant = {name: value.to(device) for name, value in variant.constants(parts).items()}
        self.networks = self._networks(seeds)
        self.executor = choose(self.networks, device)
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
        self.phase: Phase | None = None
        self.sums: dict[str, Tensor] = {}  # of the losses since the last evaluation, [runs]
        self.counts: dict[str, int] = {}
        self.diverged_at = torch.full((self.runs,), -1, dtype=torch.int64, device=device)
        self.curves = Curves()
        self.seconds = 0.0
        # runs of several budgets may train together, so no loss may read one: None fails loudly in any arithmetic
        variant.task = replace(variant.task, labelled=None, unlabelled=None)  # type: ignore[arg-type]

    # --- start ---

    def _networks(self, seeds: Sequence[int]) -> dict[str, storage.StackedNetwork]:
        constructors = self.variant.networks()
        initial = Batches(
            {f"initial/{name}": draw for name, draw in self.variant.initial_draws().items()},
            self.dataset, self.splits, seeds, self.device, self.images,
        ).next(1)  # fmt: skip
        modules = []
        for run, seed in enumerate(seeds):
            nets = SimpleNamespace(
                **{name: storage.build(make, seed, name).to(self.device) for name, make in constructors.items()}
            )
            batch = {name.removeprefix("initial/"): _row(value, run) for name, value in initial.items()}
            self._initialise(nets, batch, seed)
            modules.append(nets)
        return {
            name: storage.StackedNetwork(storage.template(make), [getattr(m, name) for m in modules], self.device)
            for name, make in constructors.items()
        }

    def _initialise(self, nets: SimpleNamespace, batch: Mapping[str, Any], seed: int) -> None:
        """Runs the variant's data-dependent initialisation, once on a copy to measure the noise that it reads."""
        if not batch:
            return
        untouched = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in vars(nets).items()}
        lengths = noise.measure(lambda n: self.variant.initialise(nets, batch, n), self.device)
        for name, net in vars(nets).items():
            net.load_state_dict(untouched[name])
        tape = noise.record([torch_generator(self.device, seed, "noise", "initial")], lengths, self.device)
        self.variant.initialise(nets, batch, Noise(tape.normal[0], tape.uniform[0]))

    # --- one step ---

    def step(self) -> None:
        phase = self.schedule.phase(self.at)
        if phase is not self.phase:
            self.enter(phase)
        progress = self.at / self.schedule.steps
        at = torch.full((), progress, device=self.device)
        batch = self.batches.next(self.schedule.steps - self.at)
        for player in phase.players:
            if self.at % player.every == 0:
                for _ in range(player.repeat):
                    self._update(player, batch, progress, at)
        self.at += 1

    def enter(self, phase: Phase) -> None:
        """Makes what the phase's players need and have not yet: optimisers, averages, histories."""
        self.phase = phase
        for player in phase.players:
            if player.name in phase.fresh or player.name not in self.optimisers:
                flats = [self.networks[name].flat for name in player.networks]
                self.optimisers[player.name] = optimiser.build(player.optimiser, flats, player.lr)
                self.owned[player.name] = player.networks
            if player.ema:
                for name in player.networks:
                    self.averages.setdefault(name, Average(player.ema, self.networks[name]))
            if player.historical_weight and player.name not in self.histories:
                networks = [self.networks[name] for name in player.networks]
                self.histories[player.name] = [History(player.historical_weight, network) for network in networks]

    def _update(self, player: Player, batch: Any, progress: float, at: Tensor) -> None:
        lengths = self._tape_lengths(player.loss, batch, at)
        tape = noise.record(self.generators, lengths, self.device)
        losses, logs, state = self.executor.losses(player.loss, frozenset(player.networks), batch, tape, self.state, at)
        for group in self.optimisers[player.name].param_groups:
            group["lr"] = player.lr * player.schedule(progress)
            if isinstance(player.optimiser, Adam):
                beta1 = player.optimiser.betas[0] if player.beta1 is None else player.beta1(progress)
                group["betas"] = (beta1, group["betas"][1])
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
        self.diverged_at = torch.where(failed, self.at, self.diverged_at)
        self._log({f"{player.name}/loss": losses, **{f"{player.name}/{name}": value for name, value in logs.items()}})

    def _tape_lengths(self, loss: Callable[..., Any], batch: Any, at: Tensor) -> noise.Lengths:
        """How much noise a loss reads: one dry pass on a copy of the first run."""
        if id(loss) not in self.lengths:
            tensors = {
                name: {k: v[0].clone() for k, v in (net.parameters | net.buffers).items()}
                for name, net in self.networks.items()
            }
            first = {name: _row(value, 0) for name, value in batch.items()}
            state = {name: value[0] for name, value in self.state.items()}
            nets = assemble(self.networks, tensors)
            self.lengths[id(loss)] = noise.measure(lambda n: loss(nets, first, n, state, at), self.device)
        return self.lengths[id(loss)]

    def _log(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            # a copy: a loss may log a part of the state, which changes in place
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    # --- evaluation ---

    def evaluate(self) -> None:
        """Adds a point to the curves: test errors, validation errors where there is such a split, mean losses."""
        broken = torch.stack([~net.finite() for net in self.networks.values()]).any(0)
        self.diverged_at = torch.where((self.diverged_at < 0) & broken, self.at, self.diverged_at)
        point: dict[str, list[int]] = {}
        for kind, averaged in (("raw", False), ("ema", True)) if self.averaged else (("raw", False),):
            point[kind] = self.evaluator.test(averaged)
            if self.evaluator.validation:
                point[f"validation_{kind}"] = self.evaluator.validate(averaged)
        logs = {name: (value / self.counts[name]).tolist() for name, value in self.sums.items()}
        self.sums, self.counts = {}, {}
        self.curves.add(self.at, self.seconds, point, logs)

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


class Curves:
    """What the evaluations have found: for each point the step, the seconds, and per run errors and losses."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.seconds: list[float] = []
        self.errors: list[dict[str, list[int]]] = []
        self.logs: list[dict[str, list[float]]] = []

    def add(self, step: int, seconds: float, errors: dict[str, list[int]], logs: dict[str, list[float]]) -> None:
        self.steps.append(step)
        self.seconds.append(seconds)
        self.errors.append(errors)
        self.logs.append(logs)

    def run(self, index: int) -> tuple[dict[str, list[int]], dict[str, list[float | None]]]:
        """One run's errors by kind, and its mean losses by name (None where a loss was not in play)."""
        kinds = sorted({kind for point in self.errors for kind in point})
        names = sorted({name for point in self.logs for name in point})
        errors = {kind: [point[kind][index] for point in self.errors if kind in point] for kind in kinds}
        logs = {name: [point[name][index] if name in point else None for point in self.logs] for name in names}
        return errors, logs

    def run_state(self, index: int) -> dict[str, Any]:
        """One run's points."""
        return {
            "steps": list(self.steps),
            "seconds": list(self.seconds),
            "errors": [{kind: value[index] for kind, value in point.items()} for point in self.errors],
            "logs": [{name: value[index] for name, value in point.items()} for point in self.logs],
        }

    def load_run_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """The points of all runs, from one state of each."""
        self.steps, self.seconds = list(states[0]["steps"]), list(states[0]["seconds"])
        self.errors, self.logs = (
            [
                {name: [state[key][point][name] for state in states] for name in states[0][key][point]}
                for point in range(len(self.steps))
            ]
            for key in ("errors", "logs")
        )


def _row(value: Any, run: int) -> Any:
    return type(value)(*(part[run] for part in value)) if isinstance(value, tuple) else value[run]
