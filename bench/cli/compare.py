"""`bench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from bench.cli.app import DEFAULT_RESULTS, app, option, out, path_argument, path_option
from bench.cli.reading import deliver, records_of

MANY = 5  # variants: with more, and none of them named, each is compared with `supervised` only


@app.command(epilog="Example:  bench compare results/runs --variants fm,triple,supervised --output comparison.md")
def compare(
    results: Annotated[Path, path_argument("[RESULTS]")] = DEFAULT_RESULTS,
    variants: Annotated[
        str | None, option("--variants", metavar="A,B", help="These, and all pairs of them. Default: all variants.")
    ] = None,
    policy: Annotated[
        str, option("--policy", metavar="last|mean-last-10|best-validation|oracle", help="Default: last.")
    ] = "last",
    dataset: Annotated[str | None, option("--dataset", metavar="NAME", help="Only this one. Default: all.")] = None,
    metric: Annotated[
        str,
        option("--metric", metavar="accuracy|error|errors", help="Percent, or wrong test images. Default: accuracy."),
    ] = "accuracy",
    published: Annotated[bool, option("--published", help="Published numbers beside ours, too.")] = False,
    figure: Annotated[
        Path | None,
        path_option("--figure", metavar="FILE", help="Draw a critical-difference diagram (.svg, .png, .pdf)."),
    ] = None,
    output: Annotated[Path | None, path_option("--output", metavar="FILE", help="Write there. Default: print.")] = None,
    stale: Annotated[bool, option("--stale", help="Runs that today's code would not produce, too.")] = False,
) -> int:
    """Which variant is better, by how much, and could these seeds tell? Paired by seed, as Markdown."""
    from bench.analysis.aggregate import aggregates
    from bench.analysis.cells import cells
    from bench.analysis.comparison import comparisons, quartiles
    from bench.analysis.published import beside
    from bench.analysis.runs import runs_frame, select
    from bench.grid import parse_names
    from bench.grid.stale import recipe_identity
    from bench.reporting.comparison import comparison_report
    from bench.reporting.published import published_section
    from bench.reporting.ranks import cd_diagram

    names = parse_names(variants, "--variants") if variants is not None else None
    frame = select(runs_frame(records_of(results, stale), policy, recipe_identity), names, dataset)
    alone = names is None and frame["variant"].nunique() > MANY and "supervised" in set(frame["base_variant"])
    described, together = quartiles(frame, metric), aggregates(frame, metric)
    text = comparison_report(described, comparisons(frame, metric, alone), together, metric, policy, alone)
    if published:
        text += "\n" + published_section(beside(cells(frame)))
    if figure is not None:
        cd_diagram(together, figure)
        out.print(f"wrote {figure}", markup=False)
    deliver(text, output)
    return 0
