"""`bench serve`."""

from __future__ import annotations

from typing import Annotated

from bench.cli.app import DEFAULT_RESULTS, app, option, results_argument


@app.command(epilog="Example:  bench serve results/runs --port 8000")
def serve(
    results: Annotated[str, results_argument()] = DEFAULT_RESULTS,
    port: Annotated[int, option("--port", metavar="N", help="Of this machine only. Default: 8000; 0: any.")] = 8000,
) -> int:
    """Show the report of a results folder in a browser while a grid is running, and update it."""
    from bench.reporting.drawing import pictures
    from bench.reporting.serve import serve as show
    from bench.store import Store

    show(Store(results), port, pictures)
    return 0
