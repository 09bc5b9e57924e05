"""`bench check-variant` and `bench speed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import FAILURE, app, out
from bench.cli.run import _option
from bench.errors import UsageError, shorten


@app.command("check-variant", epilog="Example:  bench check-variant my_gan.py")
def check_variant(
    variant: Annotated[str, typer.Argument(metavar="NAME|FILE.py|package.module:Class", show_default=False)],
) -> int:
    """Run the conformance suite on a variant: is it one run in plain torch, with no leak and no hidden chance?"""
    from bench import registry
    from bench.conformance import check

    failed = False
    for kind in registry.resolve(variant):
        out.print(f"{kind.name}:", markup=False)
        for name, seconds, problem in check(kind):
            out.print(f"  {'ok    ' if problem is None else 'FAILED'} {name} ({seconds:.1f} s)", markup=False)
            if problem is not None:
                failed = True
                out.print(f"         {shorten(problem, 600)}", markup=False)
    return FAILURE if failed else 0


@app.command(epilog="Example:  bench speed --output reports/performance.md")
def speed(
    output: Annotated[Path | None, _option("--output", metavar="FILE", help="Write there as well.")] = None,
    quick: Annotated[bool, _option("--quick", help="Fewer repetitions: minutes become seconds.")] = False,
) -> int:
    """Measure training speed on this machine against a hand-written loop and the rate of matrix products."""
    from bench.speed import report

    text = report(quick, lambda line: out.print(line, markup=False))
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--output {shorten(output)!r} cannot be written: {error.strerror}.") from error
    return 0
