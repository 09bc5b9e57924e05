"""`bench run`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

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
    device_of,
    interval,
    local_pool,
    precision_of,
    stoppable,
    train,
    workers,
    workers_of,
)
from bench.errors import UsageError, printable, shorten
from bench.paths import default_data


@app.command(epilog="Example:  bench run --variants supervised,fm,triple --labels 20,50,100 --seeds 10")
def run(
    variants: Annotated[str | None, option("--variants", metavar="A,B", help="Default: supervised,fm,triple.")] = None,
    dataset: Annotated[str | None, option("--dataset", metavar="NAME", help="Default: digits.")] = None,
    labels: Annotated[str | None, option("--labels", metavar="20,50,all|10%", help="Default: 20,50,100.")] = None,
    label_selection: Annotated[
        str | None,
        option("--label-selection", metavar=SELECTION, help="Default: balanced."),
    ] = None,
    seeds: Annotated[
        str | None, option("--seeds", metavar="10|0-9|1,4,7", help="A count, a range or a list. Default: 10 (0 to 9).")
    ] = None,
    protocol: Annotated[
        str | None, option("--protocol", metavar="common|paper|smoke", help="Which recipes. Default: common.")
    ] = None,
    suite: Annotated[
        str | None, option("--suite", metavar="NAME|FILE.yaml", help="A grid from a file; other options override it.")
    ] = None,
    set_: Annotated[
        list[str] | None, option("--set", metavar="VARIANT.FIELD=VALUE", help="A recipe field; may be repeated.")
    ] = None,
    recipe: Annotated[
        Path | None, path_option("--recipe", metavar="FILE", help="Recipe fields by variant, as YAML.")
    ] = None,
    steps: Annotated[int | None, option("--steps", metavar="N", help="Steps, all phases together.")] = None,
    scale: Annotated[float | None, option("--scale", metavar="F", help="Factor on the length of the schedule.")] = None,
    validation: Annotated[
        int | None, option("--validation", metavar="N", help="Further labelled images, held out for selection.")
    ] = None,
    unlabelled: Annotated[
        int | None, option("--unlabelled", metavar="N", help="Cap on the unlabelled images. Default: all.")
    ] = None,
    results: Annotated[str | None, results_option()] = None,
    data: Annotated[Path | None, path_option("--data", metavar="DIR", help="Datasets. Default: $BENCH_DATA.")] = None,
    image_size: Annotated[
        int | None, option("--image-size", metavar="N", help="Resize images to N x N pixels.")
    ] = None,
    jobs: Annotated[int | None, option("--jobs", metavar="N", help="Worker processes. Default: one per core.")] = None,
    device: Annotated[str, option("--device", metavar="auto|cpu|cuda", help="Default: auto.")] = "auto",
    precision: Annotated[str, PRECISION] = "auto",
    cluster: Annotated[
        str | None,
        option("--cluster", metavar="tcp://HOST:8786|local:N", help="Train on a Dask cluster (docs/clusters.md)."),
    ] = None,
    cohort: Annotated[
        str, option("--cohort", metavar="auto|N", help="Most runs trained together. Default: by rule.")
    ] = "auto",
    plugin: Annotated[
        list[Path] | None, path_option("--plugin", metavar="FILE.py", help="A file with variants; may be repeated.")
    ] = None,
    save_weights: Annotated[bool, option("--save-weights", help="Keep each run's networks (safetensors).")] = False,
    save_logits: Annotated[bool, option("--save-logits", help="Keep each run's test logits (safetensors).")] = False,
    samples: Annotated[
        bool, option("--samples", help="Keep generated images along training, and draw pictures of them.")
    ] = False,
    log: Annotated[
        str | None,
        option(
            "--log",
            metavar="tensorboard|mlflow",
            help="Write the runs that are trained now, not those stored before, to a tracker as well.",
        ),
    ] = None,
    checkpoint_every: Annotated[float | None, CHECKPOINT_EVERY] = None,
    time_limit: Annotated[str | None, TIME_LIMIT] = None,
    dry_run: Annotated[
        bool, option("--dry-run", help="Print the grid, the cohorts and an estimate; train nothing.")
    ] = False,
) -> int:
    """Train a grid of variants, label budgets and seeds; runs that are already stored are not repeated."""
    from bench import registry
    from bench.cli.grids import grids, loaded
    from bench.cli.pieces import Piece, Pieces
    from bench.execution import group
    from bench.execution.dry_run import describe_grid, whole_line
    from bench.execution.estimate import Estimate
    from bench.execution.parcel import absolute
    from bench.execution.pieces import Estimates
    from bench.execution.worker import Job
    from bench.grid import suites
    from bench.reporting import trackers
    from bench.store import Store

    if log is not None:
        trackers.check(log)
    for path in plugin or []:
        registry.load_file(path)
    typed = {
        "variants": variants, "dataset": dataset, "labels": labels, "label_selection": label_selection, "seeds": seeds,
        "protocol": protocol, "set": set_ or None, "steps": steps, "scale": scale, "validation": validation,
        "unlabelled": unlabelled, "image_size": image_size,
        "precision": precision_of(precision, device if cluster is not None else device_of(device).type),
    }  # fmt: skip
    if cluster is not None and jobs is not None:
        raise UsageError("--jobs has no effect with --cluster, which has as many workers as it has.")
    size = cohort_size(cohort)
    chosen = suites.load(suite) if suite is not None else None
    if chosen is not None and protocol == "smoke":  # which proves that it runs, and belongs to no reference
        chosen = replace(chosen, results=None, pieces=False)
    if results is None:
        results = chosen.results if chosen is not None and chosen.results is not None else DEFAULT_RESULTS
    results = results if cluster is None else absolute(results)
    asked = grids(chosen, {k: v for k, v in typed.items() if v is not None}, recipe, data or default_data())
    store = Store(results)
    every, deadline = interval(checkpoint_every), deadline_of(time_limit)
    if chosen is not None and chosen.pieces and cluster is not None and deadline is not None:
        raise UsageError("--time-limit with --cluster: how long a piece takes can be measured on this machine alone.")
    if not dry_run:
        store.folder.writable()
    runs: dict[str, Any] = {}  # two parts of a suite may hold the same one
    planned = loaded(asked)
    if dry_run:
        here, costs = local_pool(device, jobs), list[Estimate]()
        there, processes = (here.jobs, None) if cluster is None else (workers_of(cluster), here.jobs)
        for source, images, own in planned:
            cohorts = group(_missing(store, own), images, here.device, there, size)
            job = Job(results, source, str(here.device), tuple(plugin or []))
            text, found = describe_grid(own, cohorts, images, job, there, processes)
            out.print(text, markup=False)
            costs += [found] if found is not None else []
        if any(grid.fit for grid in asked):
            out.print("`scale: fit` counts as the whole schedule here; how much of it fits is found out in training.")
        if len(costs) > 1:
            out.print(whole_line(costs), markup=False)
        return 0
    keep = (save_weights, save_logits, samples)
    with (
        workers(cluster, device, jobs, results) as pool,
        stoppable(deadline, None if cluster is None else results) as orders,
        trackers.tracking(log, store, lambda text: out.print(text, markup=False)) as hear,
    ):

        def job_of(source: Any) -> Job:
            return Job(results, source, str(pool.device), tuple(plugin or []), *keep, every, orders)

        def train_grid(source: Any, images: Any, own: list[Any]) -> None:
            missing = _missing(store, own)
            train(own, images, store, job_of(source), pool, size, f"{len(own)} runs", hear)
            if any(keep) and len(missing) < len(own):
                kept = "--save-weights, --save-logits and --samples"
                out.print(f"\n{kept} act on runs that are trained now, not on stored ones.", markup=False)
            if samples:
                _draw(store, missing, images)

        if chosen is not None and chosen.pieces:
            pieces = [Piece(grid, *found, grid.fit) for grid, found in zip(asked, planned, strict=True)]
            return Pieces(chosen, pieces, store, Estimates(store, pool, size, job_of), orders, train_grid).do()
        for source, images, own in planned:
            train_grid(source, images, own)
            runs |= {run.id: run for run in own}
    return _conclude(store, list(runs.values()), results, chosen.layouts if chosen else ())


def _missing(store: Any, runs: Any) -> Any:
    """The runs that are still to be trained."""
    standings = store.standings(runs)
    return [run for run in runs if not standings[run.id].settled]


def _draw(store: Any, runs: Any, dataset: Any) -> None:
    """Pictures of the samples that the runs have kept."""
    from bench.reporting.figures.saving import samples_of
    from bench.reporting.pictures import brightest_of, draw_samples
    from bench.store import beside

    brightest = brightest_of(dataset.train_images, dataset.divisor, dataset.shift)
    made: list[str] = []
    silent = {run.label for run in runs}
    for record in store.records(runs):
        if (samples := samples_of(store, record)) is None:
            continue
        silent.discard(record.run.label)
        for name, content in draw_samples(samples, record.id, brightest).items():
            made.append(beside(store.name(record.run), name))
            store.folder.write(made[-1], content)
    out.print(f"\n{len(made)} pictures" + (f", such as {store.where(made[0])}" if made else ""), markup=False)
    if silent:
        out.print(f"no pictures of {', '.join(sorted(silent))}", markup=False)


def _conclude(store: Any, runs: Any, results: str, layouts: tuple[str, ...]) -> int:
    """The table of the grid, what went wrong, where things are and how to go on."""
    from bench.analysis.cells import cells
    from bench.analysis.runs import runs_frame
    from bench.grid.stale import recipe_identity
    from bench.reporting.tables import render, supervised_hint

    records = list(store.records(runs))
    summary = cells(runs_frame(records, "last", recipe_identity))
    out.print("\n" + render(summary, "markdown"), markup=False)
    failed = [record for record in records if record.status == "failed"]
    for reason in sorted({record.reason for record in failed}):
        names = [r.id for r in failed if r.reason == reason]
        out.print(f"failed ({len(names)} runs, e.g. {names[0]}): {shorten(printable(reason), 300)}", markup=False)
    if hint := supervised_hint(summary):
        out.print(hint, markup=False)
    folders = sorted({store.where(store.name(run)).rpartition("/")[0] for run in runs})
    where = "" if results == DEFAULT_RESULTS else f" {shlex.quote(results)}"
    flag = "" if results == DEFAULT_RESULTS else f" --results {shlex.quote(results)}"
    out.print("\nRun files: " + ", ".join(folders), markup=False)
    papers = "".join(f"  bench table{where} --layout {name}  # beside the published numbers\n" for name in layouts)
    out.print(
        f"Go on with:\n{papers}"
        f"  bench report{where}  # tables, figures, comparisons and a page to look at\n"
        f"  bench table{where} --format latex  # the table for a paper; also --format csv, --metric errors\n"
        f"  bench show {records[0].id}{flag}  # everything about one run\n"
        f"  bench list runs{where}  # all that is stored there",
        markup=False,
    )
    return FAILURE if failed else 0
