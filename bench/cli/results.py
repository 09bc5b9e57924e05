"""`bench list`, `bench show`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import DEFAULT_RESULTS, app, out, results_argument, results_option
from bench.errors import UsageError, printable, unknown

if TYPE_CHECKING:
    from bench.grid import Run

KINDS = ("variants", "datasets", "suites", "layouts", "runs")


@app.command("list", epilog="Example:  bench list runs results/runs")
def list_(
    kind: Annotated[str, typer.Argument(metavar="variants|datasets|suites|layouts|runs", show_default=False)],
    results: Annotated[str, results_argument()] = DEFAULT_RESULTS,
) -> int:
    """What there is. In a pipe: one line each, the name first, untruncated."""
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if kind != "runs" and results != DEFAULT_RESULTS:
        raise UsageError(f"bench list {kind} takes no results folder; only `bench list runs [RESULTS]` does.")
    listed = {"variants": _variants, "datasets": _datasets, "suites": _suites, "layouts": _layouts}
    rows = listed[kind]() if kind != "runs" else _runs(results)
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


def _layouts() -> list[tuple[str, str]]:
    from bench.reporting import layouts

    return [(name, " ".join(layouts.read(name).about.split())) for name in layouts.names()]


def _runs(results: str) -> list[tuple[str, str]]:
    from bench.store import Store

    store, rows, stored = Store(results), [], set()
    for record in store.records():  # one by one: there may be many
        rows.append(_row(record.run, record.status))
        stored.add(record.id)
    for head in store.checkpoints.heads():
        if head.run.id not in stored:
            state = "running" if store.held(head.run) else "interrupted"
            rows.append(_row(head.run, f"{state} (saved at step {head.step} of {head.run.steps})"))
    return rows


def _row(run: Run, status: str) -> tuple[str, str]:
    from bench.grid.stale import is_stale

    stale = " (stale)" if is_stale(run) else ""
    cell = [run.dataset, run.protocol, run.label, f"{run.budget} labels", f"seed {run.seed}"]
    return run.id, "  ".join([status + stale, *cell])


@app.command(epilog="Example:  bench show 1f3a")
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="An id, or an unambiguous beginning of one.")],
    results: Annotated[str, results_option()] = DEFAULT_RESULTS,
) -> int:
    """Everything about a run, with the command that reproduces it."""
    from bench.reporting.reproduce import command
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
