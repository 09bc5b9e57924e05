"""Options and suites -> the list of runs, checked before anything is written."""

from bench.grid.options import parse_names
from bench.grid.plan import PROTOCOLS, Options, check, plan, task_of
from bench.grid.run import Run

__all__ = ["PROTOCOLS", "Options", "Run", "check", "parse_names", "plan", "task_of"]
