"""Several processes that share one device, beside one process with all runs."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from bench.speed.rounds import Spread, spread
from bench.speed.tables import table

SECONDS = 1.0  # of a round
WARM_UP = 16  # steps before any is timed: a GPU captures them meanwhile
PATIENCE = 600.0  # seconds until a process that does not answer is given up
LAST_WORDS = 10.0  # seconds that it has to end by itself

Ask = Callable[[int], None]  # returns when all processes have trained so many steps
Trainers = Callable[[str, int, torch.device], Callable[[], object]]  # subject, runs, device: what trains a step


@dataclass(frozen=True)
class Crew:
    """So many processes, each with a cohort of so many runs of a subject, and with its share of a CPU's cores."""

    subject: str
    processes: int
    runs: int
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.processes} x {self.runs}"


@contextmanager
def at_work(crew: Crew, trainers: Trainers, device: torch.device) -> Iterator[Ask]:
    """The crew's processes, which have taken their first steps.

    Raises:
        RuntimeError: one of them did not come to that, or later on broke down.
    """
    context = multiprocessing.get_context("spawn")
    lines: list[Connection] = []
    workers = []
    try:
        for _ in range(crew.processes):
            here, there = context.Pipe()
            worker = context.Process(target=serve, args=(there, crew, trainers, device), daemon=True)
            worker.start()
            there.close()
            lines.append(here)
            workers.append(worker)

        def ask(steps: int) -> None:
            _train(lines, steps)

        ask(WARM_UP if device.type == "cuda" else 1)
        yield ask
    finally:
        for line in lines:
            line.close()
        for worker in workers:
            worker.join(LAST_WORDS)
            worker.kill()
            worker.join()


def _train(lines: Sequence[Connection], steps: int) -> None:
    try:
        for line in lines:
            line.send(steps)
        for line in lines:
            if not line.poll(PATIENCE):
                raise RuntimeError(f"no answer within {PATIENCE:.0f} s")
            line.recv()
    except (EOFError, OSError) as error:
        raise RuntimeError("one of the processes broke down") from error


def serve(line: Connection, crew: Crew, trainers: Trainers, device: torch.device) -> None:
    """In a process of the crew: trains as many steps as it is told to, and says so, until nobody tells it any more."""
    torch.set_num_threads(crew.threads)
    step = trainers(crew.subject, crew.runs, device)
    while True:
        try:
            steps = line.recv()
        except EOFError:
            return
        for _ in range(steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        line.send(None)


def crews(subject: str, runs: int, device: torch.device) -> list[Crew]:
    """One process with all runs, and two with half of them, on a GPU four, too; on a CPU with two threads in all."""
    if device.type == "cuda":
        return [Crew(subject, n, runs // n) for n in (1, 2, 4)]
    return [Crew(subject, n, runs // n, threads=2 // n) for n in (1, 2)]


def rates(wanted: Sequence[Crew], trainers: Trainers, rounds: int, device: torch.device) -> dict[Crew, list[float]]:
    """Run-steps per second of the clock, round by round, the crews in turn."""
    found: dict[Crew, list[float]] = {crew: [] for crew in wanted}
    with ExitStack() as stack:
        asks = {crew: stack.enter_context(at_work(crew, trainers, device)) for crew in wanted}
        steps = {crew: max(1, round(SECONDS / _timed(ask, 1))) for crew, ask in asks.items()}
        for at in range(rounds):
            for crew in wanted[:: 1 if at % 2 == 0 else -1]:
                seconds = _timed(asks[crew], steps[crew])
                found[crew].append(crew.processes * crew.runs * steps[crew] / seconds)
    return found


def _timed(ask: Ask, steps: int) -> float:
    start = time.perf_counter()
    ask(steps)
    return time.perf_counter() - start


def section(found: Mapping[str, Mapping[Crew, Sequence[float]]], left_out: Mapping[str, str]) -> str:
    """A row per subject and number of processes; and the subjects that could not be measured, with reasons."""
    rows = []
    for title, measured in found.items():
        one = next(iter(measured.values()))
        for crew, own in measured.items():
            gained: Spread = spread([a / b for a, b in zip(own, one, strict=True)])
            rows.append((title, str(crew), str(crew.threads), spread(own).text(1), gained.text(2)))
    header = ("", "processes x runs", "threads each", "run-steps per second", "relative to one process")
    note = (
        "The same runs in one process, as one cohort, or divided among several that share the device. "
        "Run-steps per second of the clock."
    )
    out = "".join(f"- {title} is left out: {reason}.\n" for title, reason in left_out.items())
    return f"### Several processes\n\n{note}\n\n" + (f"{out}\n" if out else "") + table(header, rows)
