"""Runs -> cohorts -> worker processes -> the store."""

from bench.execution.cohorts import Cohort, DataSource, group
from bench.execution.launcher import launch

__all__ = ["Cohort", "DataSource", "group", "launch"]
