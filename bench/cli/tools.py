"""`bench check-variant` and `bench tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import FAILURE, app, count, option, out, path_option
from bench.errors import UsageError, shorten
from bench.paths import default_data


@app.command("check-variant", epilog="Example:  bench check-variant my_gan.py")
def check_variant(
    variant: Annotated[str, typer.Argument(metavar="NAME|FILE.py|package.module:Class", show_default=False)],
) -> int:
    """Run the conformance suite on a variant: is it one run in plain torch, with no leak and no hidden chance?"""
    from joblib import cpu_count

    from bench import registry
    from bench.conformance import check_in_workers

    failed = False
    for kind in registry.resolve(variant):
        out.print(f"{kind.name}:", markup=False)
        for name, seconds, problem in check_in_workers(variant, kind, min(cpu_count(), 4)):
            out.print(f"  {'ok    ' if problem is None else 'FAILED'} {name} ({seconds:.1f} s)", markup=False)
            if problem is not None:
                failed = True
                out.print(f"         {shorten(problem, 600)}", markup=False)
    return FAILURE if failed else 0


@app.command(epilog="Example:  bench tune --variant fm --dataset digits --labels 100 --trials 20 --output fm.yaml")
def tune(
    variant: Annotated[str, option("--variant", metavar="NAME", help="The variant to tune.")],
    output: Annotated[Path, path_option("--output", metavar="FILE", help="A file for `bench run --recipe FILE`.")],
    dataset: Annotated[str, option("--dataset", metavar="NAME", help="Default: digits.")] = "digits",
    labels: Annotated[str, option("--labels", metavar="20,50,100", help="Default: 20,50,100.")] = "20,50,100",
    seeds: Annotated[
        str, option("--seeds", metavar="1000-1002", help="Not those that you will report. Default: 1000-1002.")
    ] = "1000-1002",
    protocol: Annotated[str, option("--protocol", metavar="common|paper", help="Default: common.")] = "common",
    trials: Annotated[int, option("--trials", metavar="N", help="Default: 20.")] = 20,
    validation: Annotated[
        int, option("--validation", metavar="N", help="Validation images; the only labels that count. Default: 300.")
    ] = 300,
    steps: Annotated[int | None, option("--steps", metavar="N", help="Default: the recipe's own.")] = None,
    set_: Annotated[list[str] | None, option("--set", metavar="VARIANT.FIELD=VALUE", help="May be repeated.")] = None,
    data: Annotated[Path | None, path_option("--data", metavar="DIR", help="Datasets. Default: $BENCH_DATA.")] = None,
    jobs: Annotated[int | None, option("--jobs", metavar="N", help="Worker processes. Default: one per core.")] = None,
) -> int:
    """Search a variant's recipe at random, on validation accuracy only."""
    import shlex
    import sys

    from bench.execution import DataSource
    from bench.grid import Options
    from bench.tuning import to_yaml
    from bench.tuning import tune as search

    source = DataSource(dataset, data or default_data())
    options = Options(
        variants=variant, labels=labels, seeds=seeds, protocol=protocol, validation=validation, steps=steps,
        settings=[*(set_ or []), f"{variant}.evaluations=1"],
    )  # fmt: skip
    if output.is_dir() or not output.resolve().parent.is_dir():
        raise UsageError(f"--output {shorten(output)!r}: name a file in an existing folder.")
    tried = search(
        options, source, count(trials, "--trials"), count(jobs, "--jobs"), lambda line: out.print(line, markup=False)
    )
    what = [
        "Made by: " + shlex.join(["bench", *sys.argv[1:]]),
        f"Random search, {len(tried)} trials, validation images only.",
    ]
    output.write_text(to_yaml(variant, what, tried), encoding="utf-8")
    out.print(f"best: {tried[0].score:.2f} % with {dict(tried[0].fields)}; wrote {output}", markup=False)
    return 0
