"""What commands that read results share: the records, and where their text goes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.app import out
from bench.errors import UsageError, shorten

if TYPE_CHECKING:
    from bench.reporting.material import Material
    from bench.store import Record, Store


def records_of(store: Store, stale: bool) -> Iterator[Record]:
    """The runs of a store; stale ones are left out, which is said at the end, unless they are asked for."""
    from bench.grid.stale import is_stale

    hidden = 0
    for record in store.records():
        if stale or not is_stale(record.run):
            yield record
        else:
            hidden += 1
    if hidden:
        print(f"{hidden} stale runs are hidden: today's code would not produce them (see --stale)", file=sys.stderr)


def material_of(
    results: str,
    stale: bool = False,
    variants: str | None = None,
    dataset: str | None = None,
    policy: str = "last",
    metric: str = "accuracy",
) -> Material:
    """The runs of a folder that `--variants` and `--dataset` choose, in the order of `--variants`."""
    from bench.analysis.runs import select
    from bench.grid import parse_names
    from bench.reporting.material import gather
    from bench.store import Store

    names = parse_names(variants, "--variants") if variants is not None else None
    store = Store(results)
    material = gather(store, records_of(store, stale), policy, metric)
    return material.part(select(material.frame, names, dataset))


def deliver(text: str, output: Path | None) -> None:
    """Prints the text, or writes it to the file of `--output`."""
    if output is None:
        print(text, end="" if text.endswith("\n") else "\n")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output {shorten(output)!r} cannot be written: {error.strerror}.") from error
    out.print(f"wrote {output}", markup=False)
