"""`bench plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import DEFAULT_RESULTS, app, option, out, path_option, results_argument
from bench.cli.reading import material_of
from bench.errors import UsageError, shorten, unknown
from bench.reporting.figures import NAMES


@app.command(epilog="Example:  bench plot curves results/runs --variants fm --output curves.svg")
def plot(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"One of {', '.join(NAMES)}.", show_default=False)],
    results: Annotated[str, results_argument()] = DEFAULT_RESULTS,
    output: Annotated[Path | None, path_option("--output", metavar="FILE", help="Default: KIND.svg.")] = None,
    variants: Annotated[str | None, option("--variants", metavar="A,B", help="Only these. Default: all.")] = None,
    dataset: Annotated[str | None, option("--dataset", metavar="NAME", help="Only this one. Default: all.")] = None,
    policy: Annotated[
        str | None, option("--policy", metavar="last|mean-last-10|best-validation|oracle", help="Default: last.")
    ] = None,
    metric: Annotated[
        str | None, option("--metric", metavar="accuracy|error|errors", help="Default: accuracy.")
    ] = None,
) -> int:
    """Draw a figure of all chosen runs (.svg, .png, .pdf): a part for each dataset and protocol."""
    from bench.reporting.figures import circles
    from bench.reporting.figures.kinds import KINDS
    from bench.reporting.figures.saving import check_format, save_figure

    if kind not in KINDS:
        raise unknown("kind of figure", kind, KINDS)
    chosen, output = KINDS[kind], output or Path(f"{kind}.svg")
    for name, value in {"policy": policy, "metric": metric}.items():
        if value is not None and name not in chosen.reads:
            able = ", ".join(other.name for other in KINDS.values() if name in other.reads)
            raise UsageError(f"--{name} {shorten(value)!r}: {kind} does not depend on it. Kinds that do: {able}.")
    check_format(output)
    material = material_of(results, False, variants, dataset, policy or "last", metric or "accuracy")
    figure = chosen.draw(material)
    if figure is None:
        raise UsageError(chosen.needs)
    save_figure(figure, output)
    if kind == "circles":
        out.print(circles.table(material), markup=False)
    out.print(f"wrote {output}", markup=False)
    return 0
