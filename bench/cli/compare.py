"""`bench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from bench.cli.app import DEFAULT_RESULTS, app, option, out, path_option, results_argument
from bench.cli.reading import deliver, material_of


@app.command(epilog="Example:  bench compare results/runs --variants fm,triple,supervised --output comparison.md")
def compare(
    results: Annotated[str, results_argument()] = DEFAULT_RESULTS,
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
    from bench.reporting.comparison import baseline_only, comparison_report
    from bench.reporting.figures.ranks import cd_diagram
    from bench.reporting.published import published_section

    frame = material_of(results, stale, variants, dataset, policy, metric).frame
    alone = variants is None and baseline_only(frame)
    described, together = quartiles(frame, metric), aggregates(frame, metric)
    text = comparison_report(described, comparisons(frame, metric, alone), together, metric, policy, alone)
    if published:
        text += "\n" + published_section(beside(cells(frame)))
    if figure is not None:
        cd_diagram(together, figure)
        out.print(f"wrote {figure}", markup=False)
    deliver(text, output)
    return 0
