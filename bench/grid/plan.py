"""From options to runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import registry
from bench.datasets import Dataset, make_split, parse_budgets, selection_name
from bench.errors import UsageError, running, shorten, unknown
from bench.grid.options import Settings, override, parse_names, parse_seeds, parse_settings, read_recipe_file
from bench.grid.run import Run, id_of
from bench.variant import MOST_STEPS, SMOKE_BATCH, SMOKE_STEPS, SMOKE_TEST_IMAGES, Recipe, Task, Variant

SMOKE_LIMITS = f"{SMOKE_STEPS} steps, batches of {SMOKE_BATCH}, {SMOKE_TEST_IMAGES} test images and one evaluation"
PROTOCOLS = ("common", "paper", "smoke")


@dataclass(frozen=True)
class Row:
    """A recipe that goes by a name of its own: a variant and the fields that are set."""

    variant: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What `bench run` was asked for, as typed; `variants` may name `rows`."""

    variants: str = "supervised,fm,triple"
    labels: str = "20,50,100"
    label_selection: str = "balanced"
    seeds: str = "10"
    protocol: str = "common"
    settings: list[str] = field(default_factory=list)
    recipe: Path | None = None
    steps: int | None = None
    scale: float | None = None
    validation: int = 0
    unlabelled: int | None = None
    precision: str | None = None
    rows: Mapping[str, Row] = field(default_factory=dict)


def plan(options: Options, dataset: Dataset) -> list[Run]:
    """All runs of the grid, variant by variant.

    Raises:
        UsageError: anything about the options that cannot be done; nothing has been written then.
    """
    variants, settings = check(options)
    budgets, seeds = parse_budgets(options.labels, dataset.n_train), parse_seeds(options.seeds)
    selection, index_file = selection_name(options.label_selection)
    for budget in budgets:  # one real split per budget: every reason to refuse one holds for all seeds
        make_split(
            dataset, seed=seeds[0], budget=budget, selection=selection, validation=options.validation,
            unlabelled=options.unlabelled, index_file=index_file,
        )  # fmt: skip
    runs: list[Run] = []
    for name, variant in variants.items():
        with running(name, variant.__module__):
            runs += _runs_of(name, variant, settings.get(name, {}), dataset, budgets, seeds, options)
    return runs


def _runs_of(
    name: str, variant: type[Variant], typed: Mapping[str, Any], dataset: Dataset, budgets: Sequence[int],
    seeds: Sequence[int], options: Options,
) -> list[Run]:  # fmt: skip
    """The runs of one variant or row, with the recipe fields that were typed for it."""
    own = options.rows[name].fields if name in options.rows else {}
    plain = base_recipe(variant, options.protocol, dataset, {}, name)
    base = base_recipe(variant, options.protocol, dataset, own, name) if own else plain
    recipe = _typed(base, name, typed, options)
    if options.protocol == "smoke" and recipe.smoke() != recipe:
        raise UsageError(f"--set {name}: beyond the smoke protocol's {SMOKE_LIMITS}.")
    selection, _ = selection_name(options.label_selection)
    runs = []
    for budget in budgets:
        task = task_of(dataset, budget, options.validation, options.unlabelled)
        steps = _steps(variant(task, recipe), options)
        schedule = {} if options.protocol == "smoke" else own  # whose epochs smoke runs cut down to steps
        _check_recipe(variant(task, recipe), {**schedule, **typed}, name)
        _check_pools(variant(task, recipe), dataset)
        row = _label(name, base, recipe) if name in options.rows else None
        runs += _runs(variant, plain, recipe, dataset, budget, selection, seeds, steps, options, row)
    return runs


def _typed(base: Recipe, name: str, typed: Mapping[str, Any], options: Options) -> Recipe:
    """The recipe with what was typed; an error names the recipe file where that sets fields."""
    try:
        return override(base, name, typed)
    except UsageError as error:
        if options.recipe is None or name not in read_recipe_file(options.recipe):
            raise
        raise UsageError(f"--recipe {shorten(options.recipe)}: {error}") from error


def check(options: Options) -> tuple[dict[str, type[Variant]], Settings]:
    """What can be refused without the dataset, which may have to be downloaded first; the variants and their settings.

    Both go by the name that was asked for: a variant's or a row's.

    Raises:
        UsageError: an unknown variant, protocol or selection; malformed seeds; a schedule or settings that cannot be.
    """
    variants = {name: _variant(name, options.rows) for name in parse_names(options.variants, "--variants")}
    if options.protocol not in PROTOCOLS:
        raise unknown("protocol", options.protocol, PROTOCOLS)
    parse_seeds(options.seeds)
    selection_name(options.label_selection)
    _check_schedule(options)
    return variants, _settings(options, list(variants))


def _variant(name: str, rows: Mapping[str, Row]) -> type[Variant]:
    if name in rows:
        return registry.get(rows[name].variant)
    if rows and name not in registry.names():
        raise unknown("variant", name, {*registry.names(), *rows}, "(rows of the suite included)")
    return registry.get(name)


def _label(name: str, base: Recipe, recipe: Recipe) -> str:
    """A row's name, and the fields that were typed besides."""
    before, after = base.model_dump(mode="json"), recipe.model_dump(mode="json")
    typed = ",".join(f"{field}={value}" for field, value in sorted(after.items()) if value != before[field])
    return f"{name}[{typed}]" if typed else name


def base_recipe(variant: type[Variant], protocol: str, dataset: Dataset, row: Mapping[str, Any], name: str) -> Recipe:
    """The protocol's own recipe for a dataset with a suite's fields; `smoke` is cut down after these are set."""
    shape_class = task_of(dataset, 1, 0, None).shape_class
    if protocol != "smoke":
        return override(variant.recipe_for(protocol, dataset.name, shape_class), name, row)
    return override(variant.full_recipe_for_smoke(dataset.name, shape_class), name, row).smoke()


def task_of(dataset: Dataset, budget: int, validation: int, unlabelled: int | None) -> Task:
    rest = dataset.n_images - budget - validation
    return Task(
        dataset.image_shape, dataset.classes, dataset.value_range, budget, rest if unlabelled is None else unlabelled
    )


def _settings(options: Options, variants: list[str]) -> Settings:
    """Recipe fields by variant: those of the recipe file, then those of --set."""
    settings: Settings = {}
    sources: list[tuple[str, Mapping[str, Mapping[str, Any]]]] = [("--set", parse_settings(options.settings))]
    if options.recipe is not None:
        sources.insert(0, ("--recipe", read_recipe_file(options.recipe)))
    for option, source in sources:
        for name, fields in source.items():
            if name not in variants:
                raise unknown(f"variant in {option}", name, variants, "Only variants of this grid can be set.")
            settings.setdefault(name, {}).update(fields)
    return settings


def _check_schedule(options: Options) -> None:
    if options.steps is not None and options.scale is not None:
        raise UsageError("--steps and --scale exclude each other: give the number of steps, or a factor on it.")
    if options.steps is not None and not 1 <= options.steps <= MOST_STEPS:
        raise UsageError(f"--steps {shorten(options.steps)}: allowed are numbers from 1 to {MOST_STEPS}.")
    if options.scale is not None and not 0 < options.scale <= 1000:
        raise UsageError(f"--scale {options.scale}: allowed are numbers above 0 (0.1 is a tenth), up to 1000.")
    if options.protocol == "smoke" and (options.steps or 0) > SMOKE_STEPS:
        raise UsageError(f"--steps {options.steps}: the smoke protocol takes at most {SMOKE_STEPS} steps.")
    if options.protocol == "smoke" and (options.scale or 0) > 1:
        raise UsageError(f"--scale {options.scale}: the smoke protocol takes at most {SMOKE_STEPS} steps; up to 1.")


def _steps(variant: Variant, options: Options) -> int:
    if options.steps is not None:
        return options.steps
    if options.scale is not None:
        return max(1, round(variant.steps() * options.scale))
    return variant.steps()


def _check_recipe(variant: Variant, fields: Mapping[str, Any], row: str) -> None:
    """Refuses fields that were set and would do nothing."""
    recipe: Recipe = variant.recipe
    if fields.get("epochs") is not None and recipe.steps is not None:
        raise UsageError(
            f"{row}.epochs={recipe.epochs} has no effect: the recipe counts in steps ({recipe.steps}). "
            f"Use --steps, or set {row}.steps=null as well."
        )
    for name in fields:
        if cause := recipe.without_effect(name):
            why = " and ".join(f"{row}.{field} is {value}" for field, value in cause.items())
            also = " or ".join(f"{row}.{field}" for field in cause)
            raise UsageError(f"{row}.{name} has no effect while {why}. Leave it out, or set {also} as well.")
    if recipe.evaluate_with == "ema" and not any(p.ema for phase in variant.phases() for p in phase.players):
        raise UsageError(f"{variant.name}.evaluate_with=ema: this variant keeps no averaged weights. Allowed: raw.")


def _check_pools(variant: Variant, dataset: Dataset) -> None:
    task = variant.task
    for name, draw in {**variant.draws(), **variant.initial_draws()}.items():
        if draw.pool == "unlabelled" and task.unlabelled < 1:
            raise UsageError(
                f"--labels {task.labelled}: variant {variant.name!r} draws {name!r} from images without a label, "
                f"and {dataset.name} has none left. Lower --labels, or set a pool that contains the labelled images."
            )


def _runs(
    variant: type[Variant], base: Recipe, recipe: Recipe, dataset: Dataset, budget: int, selection: str,
    seeds: Sequence[int], steps: int, options: Options, row: str | None,
) -> list[Run]:  # fmt: skip
    """One run per seed, all else equal."""
    values, defaults, identity = recipe.model_dump(mode="json"), base.model_dump(mode="json"), recipe.identity()
    fixed: dict[str, Any] = {
        "dataset_hash": dataset.content_hash, "budget": budget, "selection": selection, "steps": steps,
        "validation": options.validation, "unlabelled": options.unlabelled,
        "precision": options.precision,
    }  # fmt: skip
    overrides = {name: value for name, value in values.items() if value != defaults[name]}
    return [
        Run(
            id=id_of(variant, identity, seed=seed, **fixed),
            variant=variant.name,
            version=variant.version,
            dataset=dataset.name,
            protocol=schedule_label(options),
            recipe=values,
            overrides=overrides,
            row=row,
            seed=seed,
            **fixed,
        )
        for seed in seeds
    ]


def schedule_label(options: Options) -> str:
    """The protocol and its length as tables show it: `common`, `paper@0.1`, `common@400`."""
    if options.steps is not None:
        return f"{options.protocol}@{options.steps}"
    return options.protocol if options.scale in (None, 1) else f"{options.protocol}@{options.scale:g}"


def index_file_of(options: Options) -> Path | None:
    """The index file that the selection names, if it names one."""
    return selection_name(options.label_selection)[1]
