"""One self-contained HTML page of a results folder: summary, tables, figures, methods, and every run."""

from bench.reporting.page.assemble import GENERATOR, build, stamp
from bench.reporting.page.parts import LayoutTable, Picture

__all__ = ["GENERATOR", "LayoutTable", "Picture", "build", "stamp"]
