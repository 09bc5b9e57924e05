"""`bench table`, `bench list`, `bench show`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import DEFAULT_RESULTS, app, option, out, path_argument, path_option
from bench.cli.reading import deliver, records_of
from bench.errors import UsageError, printable, unknown

if TYPE_CHECKING:
    from bench.grid import Run
    from bench.store import Record

KINDS = ("variants", "datasets", "suites", "runs")
FIGURES = ("curves", "circles", "samples")


@app.command(epilog="Example:  bench table results/runs --format csv --policy mean-last-10 --output table.csv")
def table(
    results: Annotated[Path, path_argument("[RESULTS]")] = DEFAULT_RESULTS,
    format: Annotated[str, option("--format", metavar="markdown|latex|csv", help="Default: markdown.")] = "markdown",
    metric: Annotated[
        str,
        option("--metric", metavar="accuracy|error|errors", help="Percent, or wrong test images. Default: accuracy."),
    ] = "accuracy",
    policy: Annotated[
        str, option("--policy", metavar="last|mean-last-10|best-validation|oracle", help="Default: last.")
    ] = "last",
    variants: Annotated[str | None, option("--variants", metavar="A,B", help="Only these. Default: all.")] = None,
    dataset: Annotated[str | None, option("--dataset", metavar="NAME", help="Only this one. Default: all.")] = None,
    output: Annotated[Path | None, path_option("--output", metavar="FILE", help="Write there. Default: print.")] = None,
    stale: Annotated[bool, option("--stale", help="Runs that today's code would not produce, too.")] = False,
) -> int:
    """Mean and standard deviation over seeds, for each variant and label budget."""
    from bench.analysis.cells import cells
    from bench.analysis.runs import runs_frame, select
    from bench.grid import parse_names
    from bench.grid.stale import recipe_identity
    from bench.reporting.tables import render

    names = parse_names(variants, "--variants") if variants is not None else None
    frame = select(runs_frame(records_of(results, stale), policy, recipe_identity), names, dataset)
    text = render(cells(frame, metric), format, metric, policy)
    deliver(text, output)
    return 0


@app.command("list", epilog="Example:  bench list runs results/runs")
def list_(
    kind: Annotated[str, typer.Argument(metavar="variants|datasets|suites|runs", show_default=False)],
    results: Annotated[Path, path_argument("[RESULTS]")] = DEFAULT_RESULTS,
) -> int:
    """What there is. In a pipe: one line each, the name first, untruncated."""
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if kind != "runs" and results != DEFAULT_RESULTS:
        raise UsageError(f"bench list {kind} takes no results folder; only `bench list runs [RESULTS]` does.")
    rows = (
        {"variants": _variants, "datasets": _datasets, "suites": _suites}[kind]() if kind != "runs" else _runs(results)
    )
    width = max((len(name) for name, _ in rows), default=0) if out.is_terminal else 0
    for name, text in rows:
        print(f"{name:<{width}}  {printable(text)}")
    return 0


def _variants() -> list[tuple[str, str]]:
    import inspect

    from bench import registry

    rows = []
    for name in registry.names():
        module = inspect.getmodule(registry.get(name))
        rows.append((name, (inspect.getdoc(module) or "").split("\n")[0]))
    return rows


def _datasets() -> list[tuple[str, str]]:
    from bench.datasets import describe

    return list(describe().items())


def _suites() -> list[tuple[str, str]]:
    from bench.grid import suites

    return [(name, suites.about(name)) for name in suites.names()]


def _runs(results: Path) -> list[tuple[str, str]]:
    from bench.grid.stale import is_stale
    from bench.store import Store

    store = Store(results)
    found: list[tuple[Run, str]] = [(record.run, record.status) for record in store.records()]
    for head in store.checkpoints.heads():
        if not store.holds(head.run):
            state = "running" if store.held(head.run.id) else "interrupted"
            found.append((head.run, f"{state} (saved at step {head.step} of {head.run.steps})"))
    rows = []
    for run, status in found:
        stale = " (stale)" if is_stale(run) else ""
        cell = [run.dataset, run.protocol, run.label, f"{run.budget} labels", f"seed {run.seed}"]
        rows.append((run.id, "  ".join([status + stale, *cell])))
    return rows


@app.command(epilog="Example:  bench show 1f3a")
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="An id, or an unambiguous beginning of one.")],
    results: Annotated[Path, path_option("--results", metavar="DIR", help="Default: results/runs.")] = DEFAULT_RESULTS,
) -> int:
    """Everything about a run, with the command that reproduces it."""
    from bench.store import Store

    record = Store(results).get(run_id)
    run = record.run
    print(f"run {record.id}: {run.label} on {run.dataset}, {run.budget} labels ({run.selection}), seed {run.seed}")
    print(f"status: {record.status} {printable(record.reason)}".rstrip())
    if record.curve:
        wrong = getattr(record.curve, record.accuracy_of)[-1]
        accuracy = 100 * (1 - wrong / record.test_images)
        print(f"last accuracy: {accuracy:.2f} % ({wrong} of {record.test_images} wrong, {record.accuracy_of} weights)")
    print(f"reproduce: {command(record)}\n")
    print(
        json.dumps(json.loads(record.to_json()), indent=1, ensure_ascii=False) if out.is_terminal else record.to_json()
    )
    return 0


def command(record: Record) -> str:
    """The command line that makes this one run again."""
    run, origin = record.run, record.provenance.get("origin", {})
    protocol, _, schedule = run.protocol.partition("@")
    words = ["bench", "run", "--variants", run.variant, "--dataset", origin.get("dataset", run.dataset)]
    words += ["--labels", str(run.budget), "--seeds", f"{run.seed}-{run.seed}", "--protocol", protocol]
    if schedule:
        words += ["--steps", str(run.steps)]
    if run.selection != "balanced":
        words += ["--label-selection", origin.get("index_file") or run.selection]
    if run.validation:
        words += ["--validation", str(run.validation)]
    if run.unlabelled is not None:
        words += ["--unlabelled", str(run.unlabelled)]
    if origin.get("image_size"):
        words += ["--image-size", str(origin["image_size"])]
    for plugin in origin.get("plugins", []):
        words += ["--plugin", plugin]
    for name, value in run.overrides.items():
        words += ["--set", f"{run.variant}.{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


@app.command(epilog="Example:  bench plot curves results/runs --variants fm --output curves.svg")
def plot(
    kind: Annotated[str, typer.Argument(metavar="curves|circles|samples", show_default=False)],
    results: Annotated[Path, path_argument("[RESULTS]")] = DEFAULT_RESULTS,
    output: Annotated[Path | None, path_option("--output", metavar="FILE", help="Default: KIND.svg.")] = None,
    variants: Annotated[str | None, option("--variants", metavar="A,B", help="Only these. Default: all.")] = None,
    dataset: Annotated[str | None, option("--dataset", metavar="NAME", help="Only this one. Default: all.")] = None,
) -> int:
    """Draw learning curves beside published ones, what was learnt of two circles, or generated images side by side."""
    from bench.analysis.runs import runs_frame, select
    from bench.grid import parse_names
    from bench.grid.stale import recipe_identity
    from bench.reporting.curves import plot_curves
    from bench.store import Store

    if kind not in FIGURES:
        raise unknown("kind of figure", kind, FIGURES)
    output = output or Path(f"{kind}.svg")
    records = records_of(results, stale=False)
    names = parse_names(variants, "--variants") if variants is not None else None
    wanted = set(select(runs_frame(records, "last", recipe_identity), names, dataset)["id"])
    chosen = [r for r in records if r.id in wanted]
    if kind == "circles":
        from bench.reporting.circles import plot_circles

        out.print(plot_circles(Store(results), chosen, output), markup=False)
    elif kind == "samples":
        from bench.reporting.side_by_side import plot_samples

        plot_samples(Store(results), chosen, output)
    else:
        plot_curves(chosen, output)
    out.print(f"wrote {output}", markup=False)
    return 0
