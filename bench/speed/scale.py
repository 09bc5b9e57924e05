"""What thousands of runs cost everybody who only plans, lists or tabulates them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.datasets import load
from bench.grid import Options, Run, plan
from bench.speed.memory import MIB
from bench.speed.tables import table
from bench.store import Curve, Record, Store

RUNS = 10_000
VARIANTS = ("supervised", "fm", "option1", "option2", "triple")
BUDGETS = (20, 30, 50, 100)
EVALUATIONS, LOSSES = 40, 6  # as runs of `common` on digits keep
PLANNING = f"from bench.speed.scale import planned; assert len(planned({RUNS})) == {RUNS}"
# between this process and the measured one: a child counts the memory of the process that it was forked from
MEASURED = """
import json, os, subprocess, sys
process = subprocess.Popen([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]))
sys.exit(os.waitstatus_to_exitcode(status))
"""
COMMAND = "from bench.cli import main; main()"


class Cost(NamedTuple):
    seconds: float  # of the processor, in a process of its own
    memory: int  # bytes, at most


def planned(runs: int) -> list[Run]:
    """A grid of so many runs on digits."""
    seeds = runs // (len(VARIANTS) * len(BUDGETS))
    options = Options(variants=",".join(VARIANTS), labels=",".join(map(str, BUDGETS)), seeds=str(seeds))
    return plan(options, load("digits", Path()))


def stored(runs: Sequence[Run], root: Path) -> None:
    """Run files of these runs, as long as real ones."""
    store = Store(root)
    store.folder.make()
    curve = Curve(
        steps=list(range(EVALUATIONS)), seconds=[0.123456789 * step for step in range(EVALUATIONS)],
        raw=[100 + step for step in range(EVALUATIONS)], ema=[100 + step for step in range(EVALUATIONS)],
        logs={f"player/{name}": [name + 0.123456789 * step for step in range(EVALUATIONS)] for name in range(LOSSES)},
    )  # fmt: skip
    for run in runs:
        path = root / store.name(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Record(run=run, status="done", test_images=500, curve=curve).to_json())


def cost(words: Sequence[str]) -> Cost:
    """Of a Python process with these words.

    Raises:
        RuntimeError: it fails.
    """
    done = subprocess.run([sys.executable, "-c", MEASURED, *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed: {done.stderr[-300:]}")
    seconds, memory = json.loads(done.stdout)
    return Cost(seconds, memory * (1024 if sys.platform == "linux" else 1))


def section(runs: int = RUNS) -> str:
    """A table: planning, listing and tabulating so many runs, each in a process of its own."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ssgan-bench-") as folder:
        stored(planned(runs), Path(folder))
        alone = cost(["-c", "import bench.registry"])
        found = {
            "to plan them": cost(["-c", PLANNING.replace(str(RUNS), str(runs))]),
            "`bench list runs`": cost(["-c", COMMAND, "list", "runs", folder]),
            "`bench table`": cost(["-c", COMMAND, "table", folder]),
        }
    rows = [
        (name, f"{own.seconds:.1f} s", f"{own.memory / MIB:.0f} MiB", f"{(own.memory - alone.memory) / MIB:.0f} MiB")
        for name, own in found.items()
    ]
    rows.append(("nothing but torch", f"{alone.seconds:.1f} s", f"{alone.memory / MIB:.0f} MiB", ""))
    note = (
        f"{runs:,} runs of {len(VARIANTS)} variants, {len(BUDGETS)} budgets. Processor time and peak memory of the "
        "whole process, the start of Python and torch included. Aim: each below 10 s, and below 500 MiB beside torch. "
        f"Measured in {time.perf_counter() - started:.0f} s."
    )
    return f"## Ten thousand runs\n\n{note}\n\n" + table(("", "time", "memory", "beside torch"), rows)
