"""`bench speed --ways`: the measurements behind the rules, of executors and processes."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bench.execution.worker import release_memory
from bench.speed import crews, ways
from bench.speed.every import STACKED
from bench.speed.rounds import Effort
from bench.speed.subjects import CREWS, SUBJECTS, WIDTHS, largest_weight, stepping, widened

EFFORT, QUICK = Effort(7, 0.3), Effort(3, 0.05)
QUICK_SUBJECTS = ("digits", "conv")


def report(device: torch.device, quick: bool) -> Iterator[str]:
    """The sections. They take some ten minutes, less than two if `quick`."""
    effort = QUICK if quick else EFFORT
    chosen = {
        name: subject
        for name, subject in SUBJECTS.items()
        if device.type in subject.runs and (name in QUICK_SUBJECTS or not quick)
    }
    found = {}
    for subject in chosen.values():
        runs = subject.runs[device.type]
        found[subject.title] = ways.compare(subject.setup(), runs, subject.phase(), effort, device)
        release_memory()  # which the next ones, and other processes, may need
    yield ways.section(found)
    if device.type == "cpu":
        setups = [widened(factor) for factor in (WIDTHS[1:3] if quick else WIDTHS)]
        yield ways.break_even({largest_weight(s): ways.compare(s, STACKED, None, effort, device) for s in setups})
    rates, left_out = {}, {}
    for name, runs in CREWS[device.type].items():
        if name not in chosen:
            continue
        try:
            wanted = crews.crews(name, runs, device)
            rates[SUBJECTS[name].title] = crews.rates(wanted, stepping, effort.rounds, device)
        except RuntimeError as reason:
            left_out[SUBJECTS[name].title] = str(reason)
    yield crews.section(rates, left_out)
