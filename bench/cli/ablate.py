"""`bench ablate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from bench.cli.app import (
    DEFAULT_RESULTS,
    FAILURE,
    SELECTION,
    app,
    option,
    out,
    path_option,
    results_option,
)
from bench.cli.training import (
    CHECKPOINT_EVERY,
    PRECISION,
    TIME_LIMIT,
    cohort_size,
    deadline_of,
    interval,
    local_pool,
    precision_of,
    stoppable,
    train,
)
from bench.paths import default_data

if TYPE_CHECKING:
    import pandas as pd

    from bench.grid import Run
    from bench.store import Store


@app.command(epilog="Example:  bench ablate --variant fm --labels 100")
def ablate(
    variant: Annotated[str, option("--variant", metavar="NAME", help="The variant whose techniques are compared.")],
    only: Annotated[
        str | None, option("--only", metavar="A,B", help="Only these techniques. Default: all of the variant's.")
    ] = None,
    add: Annotated[
        list[str] | None,
        option("--add", metavar="NAME|FIELD=VALUE", help="A further row: a technique, or a recipe field. Repeatable."),
    ] = None,
    dataset: Annotated[str, option("--dataset", metavar="NAME", help="Default: digits.")] = "digits",
    labels: Annotated[str, option("--labels", metavar="20,50,all|10%", help="Default: 100.")] = "100",
    label_selection: Annotated[
        str, option("--label-selection", metavar=SELECTION, help="Default: balanced.")
    ] = "balanced",
    seeds: Annotated[str, option("--seeds", metavar="10|0-9|1,4,7", help="Default: 10 (0 to 9).")] = "10",
    protocol: Annotated[str, option("--protocol", metavar="common|paper|smoke", help="Default: common.")] = "common",
    set_: Annotated[
        list[str] | None, option("--set", metavar="VARIANT.FIELD=VALUE", help="A field of the base; may be repeated.")
    ] = None,
    steps: Annotated[int | None, option("--steps", metavar="N", help="Steps, all phases together.")] = None,
    scale: Annotated[float | None, option("--scale", metavar="F", help="Factor on the length of the schedule.")] = None,
    results: Annotated[str, results_option()] = DEFAULT_RESULTS,
    data: Annotated[Path | None, path_option("--data", metavar="DIR", help="Datasets. Default: $BENCH_DATA.")] = None,
    jobs: Annotated[int | None, option("--jobs", metavar="N", help="Worker processes. Default: one per core.")] = None,
    device: Annotated[str, option("--device", metavar="auto|cpu|cuda", help="Default: auto.")] = "auto",
    precision: Annotated[str, PRECISION] = "auto",
    cohort: Annotated[str, option("--cohort", metavar="auto|N", help="Most runs trained together.")] = "auto",
    plugin: Annotated[
        list[Path] | None, path_option("--plugin", metavar="FILE.py", help="A file with variants; may be repeated.")
    ] = None,
    checkpoint_every: Annotated[float | None, CHECKPOINT_EVERY] = None,
    time_limit: Annotated[str | None, TIME_LIMIT] = None,
) -> int:
    """Add and remove a variant's techniques one by one, on the same seeds: which of them help?"""
    from bench import registry
    from bench.execution import DataSource
    from bench.execution.worker import Job
    from bench.grid import Options, check, parse_names, plan
    from bench.grid.ablation import changes
    from bench.grid.plan import index_file_of
    from bench.reporting.ablation import ablation_table
    from bench.store import Store

    for path in plugin or []:
        registry.load_file(path)
    kind = registry.get(variant)
    pool, size = local_pool(device, jobs), cohort_size(cohort)
    options = Options(
        variants=variant, labels=labels, label_selection=label_selection, seeds=seeds, protocol=protocol,
        settings=set_ or [], steps=steps, scale=scale, precision=precision_of(precision, pool.device.type),
    )  # fmt: skip
    every, deadline = interval(checkpoint_every), deadline_of(time_limit)
    check(options)
    loaded = DataSource(dataset, data or default_data()).load()
    base = kind.recipe_type.model_validate(plan(options, loaded)[0].recipe)
    names = parse_names(only, "--only") if only is not None else None
    rows = changes(kind, base, names, add or [])
    grids = {row.name: plan(replace(options, settings=[*(set_ or []), *row.settings(variant)]), loaded) for row in rows}
    store = Store(results)
    store.folder.writable()
    source = DataSource(dataset, data or default_data(), None, index_file_of(options))
    runs = list({run.id: run for grid in grids.values() for run in grid}.values())
    with stoppable(deadline) as orders:
        job = Job(results, source, str(pool.device), tuple(plugin or []), checkpoint_every=every, orders=orders)
        train(runs, loaded, store, job, pool, size, f"{len(rows)} recipes, {len(runs)} runs")
    title = f"{kind.name} on {loaded.name}, {runs[0].protocol}: techniques added (+) and removed (-)"
    accuracies = {name: _accuracies(store, grid) for name, grid in grids.items()}
    out.print("\n" + ablation_table(title, accuracies, list(dict.fromkeys(run.budget for run in runs))), markup=False)
    out.print(f"Run files: {store.where(store.name(runs[0])).rpartition('/')[0]}", markup=False)
    return 0 if all(standing.settled for standing in store.standings(runs).values()) else FAILURE


def _accuracies(store: Store, runs: list[Run]) -> dict[int, pd.Series[float]]:
    """Budget -> accuracy by seed; missing for runs that failed or diverged, or that another process has in training."""
    from bench.analysis.runs import runs_frame

    standings = store.standings(runs)
    frame = runs_frame(store.records([run for run in runs if standings[run.id].status is not None]), "last")
    by_budget = {budget: own.set_index("seed")["accuracy"] for budget, own in frame.groupby("budget")}
    seeds = list(dict.fromkeys(run.seed for run in runs))
    return {budget: by_budget[budget].reindex(seeds) for budget in dict.fromkeys(run.budget for run in runs)}
