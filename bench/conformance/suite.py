"""The list of checks, and how one is run."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import repeat

import torch

from bench import registry
from bench.conformance import bits, fields, inputs, purity
from bench.conformance.problem import describe
from bench.variant import Variant

# Long ones first, so that no worker is left with one at the end
CHECKS: Mapping[str, Callable[[type[Variant]], None]] = {
    "recipes are well-formed": fields.well_formed,
    "every recipe field changes something": fields.alive,
    "vectors, grey and colour images, 2 and 10 classes": inputs.shapes,
    "traced losses keep every bit": bits.traced,
    "vmap and loop agree": bits.executors,
    "a run alone equals the run in cohorts of 3 and 15, bit for bit": bits.cohorts,
    "a run that turns to NaN leaves its neighbours alone": bits.neighbours,
    "100 steps beat chance": inputs.learning,
    "saved and restored, a run goes on bit for bit": bits.restored,
    "global random generators stay untouched and unused": purity.generators,
    "hidden labels change no bit": purity.labels,
    "runs under vmap without slow fallbacks, re-binds no buffer": purity.stacking,
    "each player moves its own networks only": purity.players,
}


Result = tuple[str, float, str | None]  # a check's name, its seconds, its problem if it found one


def check(kind: type[Variant]) -> Iterator[Result]:
    """Runs every check on a variant, one by one as the caller asks."""
    for name, function in CHECKS.items():
        yield _timed(name, function, kind)


def _timed(name: str, function: Callable[[type[Variant]], None], kind: type[Variant]) -> Result:
    start = time.perf_counter()
    found = problem(function, kind)
    return name, time.perf_counter() - start, found


def check_in_workers(variant: str, kind: type[Variant], jobs: int) -> Iterator[Result]:
    """The same in `jobs` processes, which find `kind` themselves by what `registry.resolve` takes.

    On Linux they are forks: to import torch anew takes each of them as long as several checks.
    """
    method = "fork" if sys.platform == "linux" else "spawn"
    with ProcessPoolExecutor(jobs, multiprocessing.get_context(method)) as workers:
        yield from workers.map(_in_worker, CHECKS, repeat(variant), repeat(kind.name))


def _in_worker(name: str, variant: str, kind: str) -> Result:
    (own,) = [found for found in _resolved(variant) if found.name == kind]
    return _timed(name, CHECKS[name], own)


_resolved = cache(registry.resolve)


def problem(function: Callable[[type[Variant]], None], kind: type[Variant]) -> str | None:
    """What a check has to say against a variant. It runs on one thread, as cohorts do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        function(kind)
    except Exception as error:  # an author's code may fail in any way; what it says is the finding
        return describe(error, kind)
    finally:
        torch.set_num_threads(threads)
    return None
