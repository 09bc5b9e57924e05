"""A few steps of each phase of a cohort, timed in a worker process: what its whole training will take."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from bench import registry
from bench.errors import running
from bench.execution.cohorts import Cohort
from bench.execution.provenance import peak_memory
from bench.execution.worker import Job, dataset_of, is_lack_of_memory, prepare, release_memory
from bench.grid import Run
from bench.training.capture import WARM_UP
from bench.training.tracing import TRACE_AFTER, write_out
from bench.training.trainer import Trainer

ENOUGH = 0.4  # seconds of steps of a phase: more are not timed
FEWEST = 5  # times that are taken all the same, as now and then one is many times as long
LONG = 4.0  # seconds: but for steps that take as long
BLOCK = 64  # steps that a GPU takes between two looks at the clock, each of which waits for it


@dataclass(frozen=True)
class PhaseTimes:
    """Seconds of a phase's steps.

    Attributes:
        steps: of the whole phase.
        written: the step from which on losses are called as written out; 0: from the first, `steps`: never.
        first: seconds of the first `warm` steps, with all that is made at first use.
        step: of a further step before `written`, and `later` of one after it.
    """

    steps: int
    warm: int
    written: int
    first: float
    step: float
    later: float

    @property
    def seconds(self) -> float:
        early = max(self.written - self.warm, 0)
        return self.first + early * self.step + max(self.steps - self.warm - early, 0) * self.later


@dataclass(frozen=True)
class Probe:
    """What a worker measured of a cohort.

    Attributes:
        start: seconds that the worker had worked until it was ready for this cohort.
        base: bytes of the worker then, with data and libraries.
        setup, evaluation: seconds.
        runs: of the cohort; `timed`: so many of them were measured.
    """

    start: float
    base: int
    executor: str
    setup: float
    phases: tuple[PhaseTimes, ...]
    evaluation: float
    evaluations: int
    runs: int
    timed: int

    @property
    def seconds(self) -> float:
        """Of the cohort's whole training."""
        steps = sum(phase.seconds for phase in self.phases)
        return self.runs / self.timed * (self.setup + steps + self.evaluations * self.evaluation)


def probe(cohort: Cohort, job: Job) -> Probe:
    """Measures a cohort in a worker; nothing is stored.

    Raises:
        UsageError: the variant's own code fails.
    """
    torch.set_num_threads(1)
    for plugin in job.plugins:
        registry.load_file(plugin)
    dataset_of(job.data)
    write_out(torch.neg, (torch.zeros(1),))  # imports what writing out a loss needs
    start, base = _ready()
    first = cohort.runs[0]
    with running(first.label, registry.get(first.variant).__module__):
        found = _measured(cohort.runs, job)
    if torch.device(job.device).type == "cuda":
        release_memory()
    return Probe(start, base, *found[:-1], len(cohort.runs), found[-1])


@cache
def _ready() -> tuple[float, int]:
    """Seconds that this process had worked, and the most memory that it had had, before its first cohort."""
    return time.process_time(), peak_memory()


Measured = tuple[str, float, tuple[PhaseTimes, ...], float, int, int]  # a probe, from `executor` on, and how many runs


def _measured(runs: Sequence[Run], job: Job) -> Measured:
    """Of all runs, or of half of them where memory does not suffice, as in training."""
    try:
        return _tried(runs, job)
    except Exception as error:
        if len(runs) < 2 or not is_lack_of_memory(error):
            raise
    release_memory()  # out of the handler, whose traceback keeps the failed cohort
    return _measured(runs[: math.ceil(len(runs) / 2)], job)


def _tried(runs: Sequence[Run], job: Job) -> Measured:
    trainer, setup = _trainer(runs, job, math.inf)
    calls = 1  # of a loss in a step of the whole cohort
    if len(runs) > 1 and trainer.executor.name == "loop":  # which computes one run after the other
        runs, calls = runs[:1], len(runs)
        trainer, setup = _trainer(runs, job, math.inf)
    written = trainer.device.type == "cpu" and trainer.schedule.steps > TRACE_AFTER
    other = _trainer(runs, job, 0)[0] if written else None
    phases = _phases(trainer, other, math.ceil(TRACE_AFTER / calls))
    if trainer.device.type == "cuda":
        trainer.evaluate()  # the first takes longer
    evaluation, evaluations = _seconds(trainer.device, trainer.evaluate), len(trainer.schedule.evaluations)
    return trainer.executor.name, setup, phases, evaluation, evaluations, len(runs)


def _trainer(runs: Sequence[Run], job: Job, trace_after: float) -> tuple[Trainer, float]:
    """The trainer of a cohort, and the seconds until it was there."""
    device, made = torch.device(job.device), list[Trainer]()
    seconds = _seconds(device, lambda: made.append(prepare(runs, dataset_of(job.data), device, job.data.index_file)[0]))
    trainer = made[0]
    trainer.executor.repeated.trace_after = trace_after
    return trainer, seconds


def _phases(trainer: Trainer, written: Trainer | None, after: int) -> tuple[PhaseTimes, ...]:
    """Each phase; `written` is a trainer whose losses are written out at once, not `after` so many steps."""
    found, start = [], 0
    for end in trainer.schedule.ends:
        if end == start:
            continue
        steps = end - start
        warm, first, step = _steps(trainer, start, end)
        until, later = steps, step
        if written is not None and steps > after:
            before = _losses(written)
            warm, first, later = _steps(written, start, end)
            until = after if _losses(written) > before else 0  # 0: those of an earlier phase
        found.append(PhaseTimes(steps, warm, until, first, step, later))
        start = end
    return tuple(found)


def _losses(trainer: Trainer) -> int:
    """How many losses have been called."""
    return len(trainer.executor.repeated.known)


def _steps(trainer: Trainer, start: int, end: int) -> tuple[int, float, float]:
    """A phase's first steps, so many of them, their seconds, and those of a further step."""
    cuda = trainer.device.type == "cuda"
    cycle = math.lcm(*(player.every for player in trainer.schedule.phase(start).players))
    warm = min((WARM_UP + 1) * cycle if cuda else 1, end - start)
    trainer.at = start
    first, times = _seconds(trainer.device, lambda: _advance(trainer, warm, start, end)), list[float]()
    if warm == end - start:
        return warm, first, first / warm
    block = cycle * math.ceil(BLOCK / cycle) if cuda else cycle
    while sum(times) < (ENOUGH if len(times) >= FEWEST else LONG):
        times.append(_seconds(trainer.device, lambda: _advance(trainer, block, start, end)))
    return warm, first, statistics.median(times) / block


def _advance(trainer: Trainer, steps: int, start: int, end: int) -> None:
    """Takes steps within a phase; after its last comes its first again."""
    for _ in range(steps):
        trainer.at = start + (trainer.at - start) % (end - start)
        trainer.step()


def _seconds(device: torch.device, body: Callable[[], object]) -> float:
    """On a CPU those of this process's one thread: what other processes take of its core does not count."""
    if device.type != "cuda":
        start = time.process_time()
        body()
        return time.process_time() - start
    start = time.perf_counter()
    body()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start
