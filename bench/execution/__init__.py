"""Runs -> cohorts -> worker processes -> the store."""

from bench.execution.cohorts import Cohort, DataSource, group
from bench.execution.launcher import launch
from bench.execution.rounds import rounds

__all__ = ["Cohort", "DataSource", "group", "launch", "rounds"]
