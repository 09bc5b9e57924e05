"""`bench table`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from bench.cli.app import DEFAULT_RESULTS, app, option, out, path_option, results_argument
from bench.cli.reading import deliver, material_of


@app.command(epilog="Example:  bench table results/runs --layout table2 --format latex --output table2.tex")
def table(
    results: Annotated[str, results_argument()] = DEFAULT_RESULTS,
    format: Annotated[
        str | None,
        option("--format", metavar="markdown|latex|html|csv", help="Default: markdown; in colours on a terminal."),
    ] = None,
    layout: Annotated[
        str | None,
        option(
            "--layout", metavar="NAME|FILE.yaml", help="As a paper's table (`bench list layouts`), its rows beside."
        ),
    ] = None,
    metric: Annotated[
        str | None,
        option("--metric", metavar="accuracy|error|errors", help="Percent, or wrong test images. Default: accuracy."),
    ] = None,
    policy: Annotated[
        str, option("--policy", metavar="last|mean-last-10|best-validation|oracle", help="Default: last.")
    ] = "last",
    variants: Annotated[str | None, option("--variants", metavar="A,B", help="Only these. Default: all.")] = None,
    dataset: Annotated[str | None, option("--dataset", metavar="NAME", help="Only this one. Default: all.")] = None,
    output: Annotated[Path | None, path_option("--output", metavar="FILE", help="Write there. Default: print.")] = None,
    stale: Annotated[bool, option("--stale", help="Runs that today's code would not produce, too.")] = False,
) -> int:
    """Mean and standard deviation over seeds, for each variant and label budget. The best of a column are bold."""
    from bench.analysis.leaders import leaders
    from bench.errors import UsageError, unknown
    from bench.reporting import layouts
    from bench.reporting.formats import as_lines
    from bench.reporting.papers import paper_csv, paper_table
    from bench.reporting.tables import FORMATS, budget_tables, csv_table, written

    if layout is not None and metric is not None:
        raise UsageError("--metric has no effect with --layout: each column of a layout has its own.")
    if format is not None and format not in (*FORMATS, "csv"):
        raise unknown("format", format, (*FORMATS, "csv"))
    chosen = layouts.read(layout) if layout is not None else None
    material = material_of(results, stale, variants, dataset, policy, metric or "accuracy")
    if chosen is not None:
        assert layout is not None
        tables = [paper_table(Path(layout).stem, chosen, material)]
    else:
        tables = budget_tables(material.cells, material.metric, policy, leaders(material.frame, material.metric))
    if format == "csv":
        text = csv_table(material.cells) if chosen is None else paper_csv(chosen, material)
    elif format is None and output is None and out.is_terminal:
        for one in tables:
            out.print(as_lines(one))
        return 0
    else:
        text = written(tables, format or "markdown")
    deliver(text, output)
    return 0
