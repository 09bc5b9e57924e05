"""`bench speed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from bench.cli.app import app, option, out, path_option
from bench.cli.training import device_of
from bench.errors import UsageError, shorten


@app.command(epilog="Example:  bench speed --output reports/performance.md --figure reports/performance.svg")
def speed(
    output: Annotated[
        Path | None,
        path_option(
            "--output", metavar="FILE", help="Write there as well, in place of the report of this sort that it has."
        ),
    ] = None,
    figure: Annotated[
        Path | None, path_option("--figure", metavar="FILE.svg", help="Draw the cost per run against cohort size.")
    ] = None,
    variants: Annotated[
        str | None, option("--variants", metavar="A,B", help="Measure these beside a plain loop, and nothing else.")
    ] = None,
    ways: Annotated[
        bool, option("--ways", help="Measure the ways to compute a cohort beside each other, and nothing else.")
    ] = False,
    plugin: Annotated[
        list[Path] | None, path_option("--plugin", metavar="FILE.py", help="A file with variants; may be repeated.")
    ] = None,
    device: Annotated[str, option("--device", metavar="auto|cpu|cuda", help="Default: auto.")] = "auto",
    quick: Annotated[
        bool, option("--quick", help="Fewer repetitions, variants and sizes: two minutes at most.")
    ] = False,
) -> int:
    """Measure training speed on this machine against loops written by hand and the rate of matrix products."""
    from bench import registry
    from bench.grid import parse_names
    from bench.reporting.figures.saving import check_format, save_figure
    from bench.speed import Wanted, report
    from bench.speed.figure import draw

    for file in plugin or []:
        registry.load_file(file)
    names = None if variants is None else parse_names(variants, "--variants")
    for name in names or ():
        registry.get(name)
    if ways and names is not None:
        raise UsageError("--ways looks at cohorts of its own. Leave out --variants.")
    place = device_of(device)
    for path, flag in ((output, "--output"), (figure, "--figure")):
        if path is not None and (path.is_dir() or not path.resolve().parent.is_dir()):
            raise UsageError(f"{flag} {shorten(path)!r}: name a file in an existing folder.")
    if figure is not None:
        check_format(figure, "--figure")
        if names is not None or ways or place.type != "cpu":
            raise UsageError(
                "--figure goes with the whole report on a CPU. Leave out --variants and --ways; "
                "on a machine with a GPU add --device cpu."
            )
    found = report(Wanted(quick, names, place, ways), lambda line: out.print(line, markup=False))
    if output is not None:
        _write(output, found.text)
    if figure is not None:
        save_figure(draw(found.growths), figure, "--figure")
    return 0


def _write(output: Path, text: str) -> None:
    from bench.speed.file import keep

    try:
        keep(output, text)
    except OSError as error:
        raise UsageError(f"--output {shorten(output)!r} cannot be written: {error.strerror}.") from error
