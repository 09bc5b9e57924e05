"""The conformance suite: is a variant one training run in plain torch, with no leak, no hidden chance, no dead option?

Each check is a function of the variant's class that raises where something is wrong. They run over every registered
variant in the tests, and over an author's file with `bench check-variant`.
"""

from bench.conformance.problem import ConformanceError
from bench.conformance.suite import CHECKS, check, check_in_workers, problem

__all__ = ["CHECKS", "ConformanceError", "check", "check_in_workers", "problem"]
