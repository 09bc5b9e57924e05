"""`bench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from bench.cli.app import DEFAULT_RESULTS, app, option, out, path_option, results_argument
from bench.cli.reading import material_of


@app.command(epilog="Example:  bench report results/runs --output reports/mine")
def report(
    results: Annotated[str, results_argument()] = DEFAULT_RESULTS,
    output: Annotated[
        Path | None,
        path_option("--output", metavar="DIR", help="Default: reports/ and the name of the results folder."),
    ] = None,
    variants: Annotated[str | None, option("--variants", metavar="A,B", help="Only these. Default: all.")] = None,
    dataset: Annotated[str | None, option("--dataset", metavar="NAME", help="Only this one. Default: all.")] = None,
    policy: Annotated[
        str, option("--policy", metavar="last|mean-last-10|best-validation|oracle", help="Default: last.")
    ] = "last",
    metric: Annotated[
        str,
        option("--metric", metavar="accuracy|error|errors", help="Percent, or wrong test images. Default: accuracy."),
    ] = "accuracy",
    stale: Annotated[bool, option("--stale", help="Runs that today's code would not produce, too.")] = False,
) -> int:
    """Tables, figures, comparisons and one page of all that is in a results folder."""
    from bench.reporting.processes import warm_up

    warm_up()
    from bench.reporting.report import PAGE, write

    output = output or Path("reports") / Path(results).resolve().name
    made = write(material_of(results, stale, variants, dataset, policy, metric), output, f"Report on {output.name}")
    out.print(
        f"wrote {output}: {PAGE} ({made['bytes'] / 1e6:.1f} MB), {made['figures']} figures as SVG and PNG, "
        f"{made['tables']} table{'s' * (made['tables'] > 1)} in four formats, comparison.md",
        markup=False,
    )
    out.print(f"Open {output / PAGE} in a browser; it needs no network.", markup=False)
    return 0
