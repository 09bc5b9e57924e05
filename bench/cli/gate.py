"""`bench gate`."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.app import (
    DEFAULT_RESULTS,
    FAILURE,
    INCOMPLETE,
    app,
    option,
    out,
    path_argument,
    path_option,
    results_option,
)
from bench.cli.training import PRECISION, local_pool, precision_of, stoppable, train
from bench.errors import UsageError, shorten
from bench.paths import default_data

if TYPE_CHECKING:
    from bench.execution.pools import Processes
    from bench.grid import Run
    from bench.store import Record, Store

CRASH = 4


@app.command(epilog="Example:  bench gate results/gate-digits.json --results /tmp/today")
def gate(
    baseline: Annotated[Path | None, path_argument("[BASELINE.json]")] = None,
    update: Annotated[
        Path | None, path_option("--update", metavar="BASELINE.json", help="Record a baseline instead.")
    ] = None,
    suite: Annotated[
        str | None, option("--suite", metavar="NAME|FILE.yaml", help="What --update records, such as gate-digits.")
    ] = None,
    results: Annotated[str, results_option()] = DEFAULT_RESULTS,
    no_run: Annotated[bool, option("--no-run", help="Only read what is in the results folder.")] = False,
    set_: Annotated[
        list[str] | None, option("--set", metavar="VARIANT.FIELD=VALUE", help="A recipe field; may be repeated.")
    ] = None,
    precision: Annotated[str, PRECISION] = "auto",
    data: Annotated[Path | None, path_option("--data", metavar="DIR", help="Datasets. Default: $BENCH_DATA.")] = None,
    jobs: Annotated[int | None, option("--jobs", metavar="N", help="Worker processes. Default: one per core.")] = None,
    device: Annotated[str, option("--device", metavar="auto|cpu|cuda", help="Default: auto.")] = "auto",
) -> int:
    """Has accuracy dropped against a baseline? 0 no, 1 yes, 2 usage, 3 too little measured, 4 crash."""
    if (baseline is None) == (update is None):
        raise UsageError("give either a baseline to compare with, or --update and the baseline to record.")
    if (update is None) != (suite is None):
        raise UsageError("--suite and --update belong together: a baseline knows its suite.")
    if update is not None and set_:
        raise UsageError("--set and --update exclude each other: a baseline records the recipes as they are.")
    if update is not None and precision != "auto":
        raise UsageError("--precision and --update exclude each other: a baseline is of the default's runs.")
    try:
        pool = local_pool(device, jobs)
        typed = {"precision": precision_of(precision, pool.device.type)}
        measure = _Measure(results, no_run, set_ or [], typed, data or default_data(), pool)
        return _update(update, str(suite), measure) if update is not None else _check(Path(str(baseline)), measure)
    except (UsageError, typer.Exit):
        raise
    except Exception:
        traceback.print_exc()
        return CRASH


@dataclass(frozen=True)
class _Measure:
    """Gets the runs of a suite, those that are missing by training them."""

    results: str
    no_run: bool
    settings: list[str]
    typed: dict[str, Any]  # options of `bench run` that override the suite's
    data: Path
    pool: Processes

    def __call__(self, name: str, content: dict[str, Any]) -> list[Record]:
        """The records of the suite's runs; without training, those of the same cells where they are not there.

        Raises:
            UsageError: runs of the suite are stored, but other code has made them.
        """
        from bench.cli.grids import grids, loaded
        from bench.execution.worker import Job
        from bench.grid import suites
        from bench.store import Store

        store, suite = Store(self.results), suites.parse(content, name)
        parts = [{**part, "set": [*part.get("set", []), *self.settings]} for part in suite.parts]
        planned = loaded(grids(suites.Suite(tuple(parts), suite.rows), self.typed, None, self.data))
        runs = list({run.id: run for _, _, own in planned for run in own}.values())
        if self.no_run:
            return _stored(store, runs)
        store.folder.writable()
        _refuse_other_code(store, runs)
        with stoppable(None) as orders:
            for source, dataset, own in planned:
                job = Job(self.results, source, str(self.pool.device), orders=orders)
                train(own, dataset, store, job, self.pool, None, f"{len(own)} runs")
        return list(store.records(runs))


def _is_of_this_code(record: Record) -> bool:
    from bench.execution.provenance import source_hash

    return bool(record.provenance.get("source") == source_hash())


def _refuse_other_code(store: Store, runs: list[Run]) -> None:
    """Stored runs of other code would be taken for today's: their ids are the same, whatever the code computes."""
    standings = store.standings(runs)
    settled = store.records([run for run in runs if standings[run.id].settled])
    others = [record.id for record in settled if not _is_of_this_code(record)]
    if others:
        raise UsageError(
            f"{len(others)} runs in {shorten(store.folder.shown)!r} (e.g. {others[0]}) were made by other code than "
            "this, and would say nothing about it. Name a new folder with --results, or judge them as they are with "
            "--no-run."
        )


def _stored(store: Store, runs: list[Run]) -> list[Record]:
    """What is stored of the runs; of a cell where nothing of them is, its runs of any other recipe.

    Stale runs, which today's code would not produce, count as missing.
    """
    from bench.analysis.baseline import Cell
    from bench.grid.stale import is_stale

    planned, wanted = {run.id for run in runs}, {Cell.of(run) for run in runs}
    found = [r for r in (store.records() if store.folder.exists() else []) if Cell.of(r.run) in wanted]
    fresh = [record for record in found if not is_stale(record.run)]
    if len(fresh) < len(found):
        out.print(f"{len(found) - len(fresh)} stale runs do not count: today's code would not produce them")
    if others := sum(not _is_of_this_code(record) for record in fresh):
        out.print(f"{others} of {len(fresh)} runs were made by other code than this: the verdict is about that code")
    known = {Cell.of(record.run) for record in fresh if record.id in planned}
    return [record for record in fresh if record.id in planned or Cell.of(record.run) not in known]


def _update(path: Path, suite: str, measure: _Measure) -> int:
    from bench.analysis.baseline import FEWEST, Baseline, by_cell
    from bench.grid import suites

    if path.is_dir() or not path.resolve().parent.is_dir():
        raise UsageError(f"--update {shorten(path)!r}: name a file in an existing folder.")
    content = suites.read(suite)
    cells = by_cell(measure(Path(suite).stem, content))
    few = [str(cell) for cell, runs in cells.items() if sum(run.accuracy is not None for run in runs) < FEWEST]
    if few or not cells:
        out.print(
            f"TOO LITTLE MEASURED: a baseline needs {FEWEST} runs per cell; not so: {'; '.join(few)}", markup=False
        )
        return INCOMPLETE
    Baseline(name=Path(suite).stem, suite=content, cells=tuple(cells.items())).write(path)
    runs = sum(len(own) for own in cells.values())
    out.print(f"wrote {path}: {runs} runs in {len(cells)} cells; compare with `bench gate {path}`", markup=False)
    return 0


def _check(path: Path, measure: _Measure) -> int:
    from bench.analysis.baseline import Baseline, Cell, by_cell
    from bench.analysis.gate import judge, numerics
    from bench.reporting.gate import conclusion, gate_report

    baseline = Baseline.read(path)
    before = dict(baseline.cells)
    today = by_cell([record for record in measure(baseline.name, baseline.suite) if Cell.of(record.run) in before])
    judged = judge(before, today)
    out.print("\n" + gate_report(judged, numerics(before, today)), markup=False)
    out.print(conclusion(judged), markup=False)
    if any(cell.regressed for cell in judged):
        return FAILURE
    return 0 if all(cell.measured for cell in judged) else INCOMPLETE
