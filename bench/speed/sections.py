"""The parts of the report, as Markdown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from bench.execution.provenance import environment
from bench.speed import file
from bench.speed.cases import CaseName, bare_step, case, step_flops
from bench.speed.every import PLAIN
from bench.speed.memory import MIB, peak_growth
from bench.speed.phases import shares
from bench.speed.products import SQUARE, square
from bench.speed.rounds import Alternative, Effort, Spread, Timings, measure
from bench.speed.tables import cohort, table, target, verdict
from bench.training import noise
from bench.training.memory import state_bytes
from bench.training.trainer import Trainer

HAND, RATE, PRODUCTS = "hand-written", "square product", "products alone"  # of matrices, or convolutions


@dataclass(frozen=True)
class Measured:
    """What was measured of one case."""

    timings: Timings
    flops: int  # of a run-step
    executor: str
    state: int  # bytes per run

    def share(self, name: str) -> float:
        """Operations per second as a share of the rate of square products, in percent."""
        return 100 * self.flops / (2 * SQUARE**3) / self.timings.ratio(name, RATE).median

    def slower(self, runs: int) -> Spread:
        """Time per run-step of a cohort relative to the hand-written loop's."""
        return self.timings.ratio(cohort(runs), HAND)


def machine(name: str) -> str:
    """The head of a report on the device of this name."""
    facts = environment()
    rows = [
        ("processor", f"{facts['processor']}, {os.cpu_count()} logical processors"),
        ("threads used", str(torch.get_num_threads())),
        ("torch", f"{torch.__version__}, Python {facts['python']}"),
        ("MKL's mode", facts["mkl_cbwr"] or "default"),
        ("sources", facts["source"]),
    ]
    return file.title(name) + "\n" + table(("", ""), rows)


def measure_case(name: CaseName, sizes: Sequence[int], parts_of: int, effort: Effort) -> Measured:
    """Times cohorts of `sizes`, both loops by hand, bare products, and the parts of a step of `parts_of` runs."""
    chosen = case(name)
    trainers = {runs: chosen.trainer(runs) for runs in sizes}
    alternatives = {RATE: Alternative(square()), HAND: Alternative(chosen.handwritten().step)}
    alternatives[PLAIN] = Alternative(chosen.plain(next(iter(shares(chosen.made())))).step)
    alternatives |= {cohort(runs): Alternative(trainer.step, runs) for runs, trainer in trainers.items()}
    alternatives |= _parts(chosen.trainer(parts_of))
    executor = trainers[sizes[0]].executor.name
    alternatives[PRODUCTS] = bare_step(chosen, parts_of if executor == "vmap" else None)
    timings = measure(alternatives, effort)
    return Measured(timings, step_flops(chosen), executor, state_bytes(trainers[sizes[0]]) // sizes[0])


PARTS = ("noise", "optimiser", "moving average", "batch")


def _parts(trainer: Trainer) -> dict[str, Alternative]:
    """Pieces of a step by themselves."""
    trainer.step()
    calls = {
        "noise": lambda: [noise.record(trainer.generators, n, trainer.device) for n in trainer.lengths.values()],
        "optimiser": lambda: [optimiser.step() for optimiser in trainer.optimisers.values()],
        "moving average": lambda: [average.update() for average in trainer.averages.values()],
        "batch": lambda: trainer.batches.next(trainer.schedule.steps),
    }
    return {name: Alternative(calls[name], trainer.runs) for name in PARTS}


def speed(title: str, explanation: str, measured: Measured, sizes: Sequence[int]) -> str:
    """A table with a row per alternative."""
    timings = measured.timings
    names = [HAND, PLAIN, *(cohort(runs) for runs in sizes)]
    rows = [
        (name, timings.of(name).text(2, 1e3), timings.ratio(name, HAND).text(2), *_rates(measured, name))
        for name in names
    ]
    rows.insert(0, (PRODUCTS, timings.of(PRODUCTS).text(2, 1e3), "", *_rates(measured, PRODUCTS)))
    header = ("", "ms per run-step", "relative to hand-written", "GFLOP/s", "share of GEMM rate")
    rate = 2 * SQUARE**3 / timings.of(RATE).median / 1e9
    return (
        f"## {title}\n\n{explanation}\n\n"
        f"GEMM rate ({SQUARE} x {SQUARE}): {rate:.1f} GFLOP/s. Executor: `{measured.executor}`. "
        f"Median (smallest to largest) of {len(timings.seconds[RATE])} rounds, processor time; "
        f"wall time was {timings.wall:.2f} times that.\n\n" + table(header, rows)
    )


def _rates(measured: Measured, name: str) -> tuple[str, str]:
    rate = measured.flops / measured.timings.of(name).median / 1e9
    return f"{rate:.1f}", f"{measured.share(name):.0f} %"


def limits(cases: Mapping[str, tuple[Measured, int]]) -> str:
    """Where the time of a step goes, in percent: pieces measured by themselves, and what they leave."""
    rows = []
    for title, (measured, runs) in cases.items():
        timings = measured.timings
        shares = [100 * timings.ratio(name, cohort(runs)).median for name in (PRODUCTS, *PARTS)]
        cells = (f"{share:.1f} %" for share in [*shares, 100 - sum(shares)])
        rows.append((f"{title}, {cohort(runs)}", *cells))
    note = (
        "Pieces of a step, each measured by itself with the step's own shapes. The rest is element-wise arithmetic "
        "(noise added, weight norm, batch norm, activations, losses), automatic differentiation and the cost of calls."
    )
    return f"## What limits\n\n{note}\n\n" + table(("", PRODUCTS, *PARTS, "rest"), rows)


def memory(cases: Mapping[str, tuple[CaseName, Measured]], sizes: Sequence[int]) -> str:
    """State per run, and the growth of a fresh process for cohorts of `sizes`."""
    rows = []
    for title, (name, measured) in cases.items():
        growth = [peak_growth(name, runs) for runs in sizes]
        cells = (
            "unknown" if grown is None else f"{grown / MIB / runs:.1f}"
            for grown, runs in zip(growth, sizes, strict=True)
        )
        rows.append((title, f"{measured.state / MIB:.1f}", *cells))
    header = ("MiB per run", "state", *(f"peak, {cohort(runs)}" for runs in sizes))
    note = (
        "State: weights, gradients, buffers, optimiser state, averages. Peak: growth of a fresh process, from the "
        "dataset in memory to its largest extent in 3 steps, divided by the runs."
    )
    return f"## Memory\n\n{note if sizes else note.partition(' Peak')[0]}\n\n" + table(header, rows)


def targets(mnist: Measured, digits: Measured, conv: Measured) -> str:
    rows = [
        target(f"MNIST, `{mnist.executor}`, cohort of 1: time / hand-written", mnist.slower(1), 1.1),
        target(f"convolutions, `{conv.executor}`, cohort of 1: time / hand-written", conv.slower(1), 1.1),
        target(f"digits, `{digits.executor}`, cohort of 15: time / 15 hand-written runs", digits.slower(15), 0.5),
    ]
    share = mnist.share(cohort(1))
    rows.append(
        ("MNIST, cohort of 1: share of GEMM rate (goal)", "at least 45 %", f"{share:.0f} %", verdict(share >= 45))
    )
    return "## Targets\n\n" + table(("", "target", "measured", ""), rows)
