"""A GPU: a cohort beside the plain loop, one run after another, and beside what the device could do at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from bench import registry
from bench.datasets import Dataset
from bench.errors import UsageError
from bench.speed import roofline
from bench.speed.every import (
    PLAIN,
    Limits,
    Result,
    TooLongError,
    measure_setup,
    measured_phases,
    naming,
    setup_of,
)
from bench.speed.roofline import Cost, cost_of_step
from bench.speed.rounds import Alternative, Spread
from bench.speed.setup import BUDGET, Setup
from bench.speed.tables import cohort, table, verdict
from bench.training.executor import convolve

STACKED = 40
THROUGHPUT = {"fm": 20.0, "triple": 5.0}  # at least, in run-steps per run-step of the plain loop
SHARE = 0.5  # at least, of the bound; of perceptrons
MATRICES, COPY = "square product", "copy"
SIDES = {"cpu": 512, "cuda": 8192}  # of the square matrices
COPIED = {"cpu": 2**22, "cuda": 2**30}  # bytes


@dataclass(frozen=True)
class Found:
    """What was measured of one variant on a device."""

    result: Result
    cost: Cost
    perceptron: bool  # no network has a convolution

    @property
    def seconds(self) -> float:
        """Of a run-step in the largest cohort."""
        return self.result.timings.of(cohort(self.result.largest)).median

    @property
    def rates(self) -> tuple[float, float]:
        """Operations, and bytes read or written, per second: those of square products and of copies."""
        timings = self.result.timings
        return 1 / timings.of(MATRICES).median, 1 / timings.of(COPY).median

    @property
    def share(self) -> float:
        """Of what the device could do at most."""
        return self.cost.seconds(*self.rates) / self.seconds

    @property
    def throughput(self) -> Spread:
        """Run-steps in the time of one of the plain loop."""
        return self.result.timings.ratio(PLAIN, cohort(self.result.largest))


def yardsticks(device: torch.device) -> dict[str, Alternative]:
    """One product of square matrices, and one copy; their units are operations, and bytes read and written."""
    side, size = SIDES[device.type], COPIED[device.type] // 4
    a, b, product = (torch.randn(side, side, device=device) for _ in range(3))
    source, copy = torch.randn(size, device=device), torch.empty(size, device=device)
    return {
        MATRICES: Alternative(lambda: torch.mm(a, b, out=product), 2 * side**3),
        COPY: Alternative(lambda: copy.copy_(source), 2 * 4 * size),
    }


def measure_variant(setup: Setup, limits: Limits, device: torch.device, stacked: int = STACKED) -> Found:
    """
    Raises:
        TooLongError: a step of some phase lasts too long.
    """
    result = measure_setup(setup, limits, device, stacked, yardsticks(device))
    phases = measured_phases(setup, limits)
    loops = {phase: setup.plain(phase, device) for phase in phases}
    cost = roofline.weighted([(share, cost_of_step(loops[phase])) for phase, share in phases.items()])
    networks = [net for loop in loops.values() for net in loop.networks.values()]
    return Found(result, cost, not convolve(networks))


def section(found: Mapping[str, Found], left_out: Mapping[str, str], what: str) -> str:
    """Throughput and roofline of each variant, and the targets."""
    header = (
        "", "plain loop, ms", "cohort", "ms per run-step", "times the plain loop's run-steps", "TFLOP/s at most",
        "GB/s at most", "GFLOP", "ms at that rate", "MB", "ms at that rate", "share of the bound",
    )  # fmt: skip
    note = (
        f"{what} One run after another in a plain eager loop, and a cohort as `bench run` trains it; wall time between "
        "idle states of the device, medians (smallest to largest). The bound of a run-step is the larger of two times: "
        "that of its products' operations at the rate of square products, and that of its bytes at the rate of a copy, "
        "both measured in turn with it. Bytes: operands and results of products, what optimisers and averages read and "
        "write."
    )
    out = "".join(f"\n- `{name}` is left out: {reason}" for name, reason in left_out.items())
    rows = [_row(name, own) for name, own in found.items()]
    goals = [row for name, own in found.items() for row in _targets(name, own)]
    goal_table = table(("", "target", "measured", ""), goals) if goals else ""
    return f"## Cohorts on the device\n\n{note}\n{out}\n\n{table(header, rows)}\n{goal_table}"


def _row(name: str, own: Found) -> tuple[str, ...]:
    timings, (flops_rate, bytes_rate) = own.result.timings, own.rates
    return (
        name, f"{1e3 * timings.of(PLAIN).median:.3f}", str(own.result.largest), f"{1e3 * own.seconds:.3f}",
        own.throughput.text(1), f"{flops_rate / 1e12:.2f}", f"{bytes_rate / 1e9:.0f}", f"{own.cost.flops / 1e9:.3f}",
        f"{1e3 * own.cost.flops / flops_rate:.3f}", f"{own.cost.bytes / 1e6:.1f}",
        f"{1e3 * own.cost.bytes / bytes_rate:.3f}", f"{own.share:.0%}",
    )  # fmt: skip


def _targets(name: str, own: Found) -> list[tuple[str, str, str, str]]:
    rows = []
    if least := THROUGHPUT.get(name):
        met = own.throughput.median >= least
        what = f"`{name}`, {cohort(own.result.largest)}: run-steps per plain run-step"
        rows.append((what, f"at least {least:g}", own.throughput.text(1), verdict(met)))
    if own.perceptron:
        what = f"`{name}`, {cohort(own.result.largest)}: share of the bound"
        rows.append((what, f"at least {SHARE:.0%}", f"{own.share:.0%}", verdict(own.share >= SHARE)))
    return rows


def report(names: Sequence[str], protocol: str, dataset: Dataset, limits: Limits, device: torch.device) -> str:
    """The section for these variants; each that cannot be measured is named with the reason."""
    found, left_out = {}, {}
    for name in names:
        kind = registry.get(name)
        try:
            with naming(kind):
                found[name] = measure_variant(setup_of(kind, protocol, dataset), limits, device)
        except (UsageError, TooLongError) as reason:
            left_out[name] = str(reason)
        except torch.OutOfMemoryError:
            left_out[name] = f"out of memory with a {cohort(STACKED)}."
    shape = "x".join(str(side) for side in dataset.image_shape)
    return section(found, left_out, f"Recipe `{protocol}` on images {shape}, {BUDGET} labels.")
