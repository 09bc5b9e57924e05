"""Random search over a variant's recipe on validation accuracy: the same number of trials for every variant.

Trial 0 is the recipe as it is. In every other trial each field of `Variant.search` is drawn from a stream of its own,
keyed by variant, trial and field: a further field moves no other. Test labels play no part.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import yaml
from joblib import Parallel, delayed

from bench import registry
from bench.errors import UsageError
from bench.execution import DataSource, group
from bench.execution.worker import prepare
from bench.grid import Options, plan
from bench.streams import numpy_generator
from bench.variant import Choice, LogUniform, Variant


@dataclass(frozen=True)
class Trial:
    number: int
    fields: Mapping[str, Any]
    accuracies: Mapping[int, float]  # budget -> mean validation accuracy over seeds, in percent

    @property
    def score(self) -> float:
        """Mean over budgets, in percent."""
        return sum(self.accuracies.values()) / len(self.accuracies)


def candidates(variant: type[Variant], recipe: Mapping[str, Any], trials: int) -> list[dict[str, Any]]:
    """The fields of `Variant.search` in each trial; in trial 0 those of `recipe`."""
    given = {name: recipe[name] for name in variant.search}
    return [given, *({name: _draw(variant, name, trial) for name in variant.search} for trial in range(1, trials))]


def _draw(variant: type[Variant], field: str, trial: int) -> Any:
    space, rng = variant.search[field], numpy_generator(trial, "tuning", variant.name, field)
    if isinstance(space, Choice):
        return space.values[int(rng.random() * len(space.values))]
    assert isinstance(space, LogUniform)
    value = math.exp(math.log(space.low) + rng.random() * math.log(space.high / space.low))
    return float(f"{value:.3g}")


def tune(options: Options, source: DataSource, trials: int, jobs: int, say: Callable[[str], None]) -> list[Trial]:
    """Trains and scores every trial; best first.

    Raises:
        UsageError: not exactly one variant, no validation split, or the variant names nothing to search.
    """
    dataset = source.load()
    runs = plan(options, dataset)
    names = {run.variant for run in runs}
    if len(names) != 1:
        raise UsageError(f"--variant: tuning takes one variant at a time, not {', '.join(sorted(names))}.")
    if options.validation < 1:
        raise UsageError("--validation: tuning needs at least 1 validation image to go by.")
    variant = registry.get(names.pop())
    if not variant.search:
        raise UsageError(f"variant {variant.name!r} names no recipe fields to search (`search` in its class).")
    fields = candidates(variant, runs[0].recipe, trials)
    results = Parallel(n_jobs=max(2, jobs), pre_dispatch=jobs, batch_size=1, return_as="generator")(
        delayed(_score)(_options(options, variant.name, own), source) for own in fields
    )
    scored = []
    for number, (own, accuracies) in enumerate(zip(fields, results, strict=True)):
        scored.append(Trial(number, own, accuracies))
        say(f"trial {number}: {scored[-1].score:.2f} % {own}")
    return sorted(scored, key=lambda trial: -trial.score)


def _options(options: Options, variant: str, fields: Mapping[str, Any]) -> Options:
    settings = [f"{variant}.{name}={json.dumps(value)}" for name, value in fields.items()]
    return replace(options, settings=[*options.settings, *settings])


def _score(options: Options, source: DataSource) -> dict[int, float]:
    """Mean validation accuracy of the last evaluation, by budget; a run that diverged counts as 0."""
    torch.set_num_threads(1)
    dataset = source.load()
    runs = plan(options, dataset)
    right: dict[int, list[float]] = {run.budget: [] for run in runs}
    for cohort in group(runs, dataset, torch.device("cpu"), 1, None):
        trainer, splits = prepare(cohort.runs, dataset, torch.device("cpu"), source.index_file)
        trainer.train()
        kind = "validation_" + ("ema" if trainer.averages and trainer.variant.recipe.evaluate_with == "ema" else "raw")
        for run, wrong, failed in zip(cohort.runs, trainer.curves.errors[-1][kind], trainer.diverged_at, strict=True):
            right[run.budget].append(0.0 if failed >= 0 else 100 * (1 - wrong / len(splits[0].validation_indices)))
    return {budget: sum(values) / len(values) for budget, values in right.items()}


def to_yaml(variant: str, what: Sequence[str], trials: Sequence[Trial]) -> str:
    """A file for `bench run --recipe`: the best trial's fields, and all trials as comments."""
    lines = [f"# {line}" for line in what]
    lines += [
        "#",
        "# Trial (0: the recipe as it was); validation accuracy (%), mean over budgets; by budget; recipe fields:",
    ]
    for trial in trials:
        each = " ".join(f"{budget}: {accuracy:.2f}" for budget, accuracy in trial.accuracies.items())
        fields = ", ".join(f"{name}={value}" for name, value in trial.fields.items())
        lines.append(f"#   {trial.number:2d}   {trial.score:6.2f}   {each}   {fields}")
    return "\n".join(lines) + "\n" + yaml.safe_dump({variant: dict(trials[0].fields)}, sort_keys=True)
