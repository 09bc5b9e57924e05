"""`bench speed`: how fast training is on this machine, beside loops written by hand and the rate of matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench import registry
from bench.execution import DataSource
from bench.execution.provenance import environment
from bench.speed import choices, device, every, growth, overhead, scale, sections, workers
from bench.speed.cases import CaseName, case, fm_products, real_digits, synthetic_mnist
from bench.speed.every import Limits
from bench.speed.file import parts, title
from bench.speed.growth import Growth
from bench.speed.rounds import CPU, Effort
from bench.speed.setup import BUDGET

FULL, QUICK = Effort(11, 0.4), Effort(3, 0.1)
SIZES, QUICK_SIZES = (1, 5, 15, 30), (1, 15)
QUICK_VARIANTS = ("fm", "triple", "ugan")
LIMITS = {"common": Limits(Effort(5, 0.1), 8.0), "paper": Limits(Effort(3, 0.1), 8.0)}
QUICK_LIMITS = {"common": Limits(Effort(3, 0.05), 8.0, 1), "paper": Limits(Effort(3, 0.05), 0.5, 1)}
ON_DEVICE = Limits(Effort(7, 0.3), 8.0)
MNIST = "MNIST's shapes"


@dataclass(frozen=True)
class Wanted:
    """What to measure.

    Attributes:
        quick: few rounds, few variants, small cohorts.
        variants: these alone, and nothing else; None: the whole report.
        ways: the ways to compute a cohort, and nothing else.
    """

    quick: bool = False
    variants: Sequence[str] | None = None
    device: torch.device = CPU
    ways: bool = False


@dataclass(frozen=True)
class Report:
    """Markdown, and what its figure shows; no growths where they were not wanted."""

    text: str
    growths: Mapping[str, Growth] = field(default_factory=dict)


def report(wanted: Wanted, say: Callable[[str], None]) -> Report:
    """Measures; `say` gets the report section by section.

    The whole takes ten to twenty-five minutes, the ways ten; either less than two if `quick`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parts: list[str] = []
    growths: dict[str, Growth] = {}
    try:
        for part in _sections(wanted, growths):
            say(part)
            parts.append(part)
    finally:
        torch.set_num_threads(threads)
    return Report("\n".join(parts), growths)


def has_report(text: str, device: torch.device) -> bool:
    """Whether a file of reports has one of such a device, whole or quick, made by this code and this torch."""
    heads = [part.partition("\n## ")[0] for part in parts(text)]
    titles = tuple(title(_subject(Wanted(quick, device=device))) for quick in (False, True))
    made_by = (environment()["source"], torch.__version__)
    return any(head.startswith(titles) and all(fact in head for fact in made_by) for head in heads)


def _subject(wanted: Wanted) -> str:
    """What a report is about; a file holds one report of each."""
    name = torch.cuda.get_device_name(wanted.device) if wanted.device.type == "cuda" else "a CPU"
    if wanted.variants is not None:
        return f"{name}: {', '.join(wanted.variants)}"
    if wanted.ways:
        return f"{name}: ways to compute a cohort{' (quick)' if wanted.quick else ''}"
    return f"{name} (quick)" if wanted.quick and wanted.device.type == "cpu" else name


def _sections(wanted: Wanted, growths: dict[str, Growth]) -> Iterator[str]:
    yield sections.machine(_subject(wanted))
    if wanted.ways:
        yield from choices.report(wanted.device, wanted.quick)
    elif wanted.device.type != "cpu":
        names = wanted.variants or tuple(device.THROUGHPUT)
        yield device.report(names, "paper", synthetic_mnist(), ON_DEVICE, wanted.device)
    elif wanted.variants is not None:
        yield from _every(wanted.variants, QUICK_LIMITS if wanted.quick else LIMITS)
    else:
        yield from _whole(wanted.quick, growths)


def _whole(quick: bool, growths: dict[str, Growth]) -> Iterator[str]:
    effort, large, small = (QUICK, (1,), QUICK_SIZES) if quick else (FULL, SIZES, SIZES)
    mnist = sections.measure_case("mnist", large, 1, effort)
    yield sections.speed("`fm` on MNIST's shapes", _explain("mnist", "paper", "random images"), mnist, large)
    digits = sections.measure_case("digits", small, 15, effort)
    yield sections.speed("`fm` on digits", _explain("digits", "common", "the dataset"), digits, small)
    conv = sections.measure_case("conv", (1,), 1, effort)
    yield sections.speed("A convolutional classifier", CONVOLUTIONS, conv, (1,))
    titles = {"MNIST": (mnist, 1), "digits": (digits, 15), "convolutions": (conv, 1)}
    yield sections.limits(titles)
    yield sections.memory({"MNIST": ("mnist", mnist), "digits": ("digits", digits)}, () if quick else SIZES)
    yield sections.targets(mnist, digits, conv)
    yield from _every(QUICK_VARIANTS if quick else registry.names(), QUICK_LIMITS if quick else LIMITS)
    growths["digits"] = growth.of_case("digits", growth.SIZES[: 4 if quick else None], Effort(3 if quick else 7, 0.1))
    growths[MNIST] = growth.of_case("mnist", growth.SIZES[: 2 if quick else None], Effort(3, 0.1))
    yield growth.section(growths)
    yield _overhead(quick)
    if not quick:
        yield workers.section(workers.rates(3))
    yield scale.section(scale.RUNS // (10 if quick else 1))


def _every(names: Sequence[str], limits: Mapping[str, Limits]) -> Iterator[str]:
    yield every.explanation(limits)
    yield every.section(names, "common", real_digits(), "digits", limits["common"])
    yield every.section(names, "paper", synthetic_mnist(), f"random images of {MNIST}", limits["paper"])


def _overhead(quick: bool) -> str:
    digits, repeats = real_digits(), 3 if quick else 5
    chosen = [overhead.subject("digits", digits, "common", runs) for runs in (1, every.STACKED)]
    chosen.append(overhead.subject(MNIST, synthetic_mnist(), "paper", 1))
    found = [(own, overhead.costs(own, repeats, 2 * repeats)) for own in chosen]
    tried = overhead.subject("digits", digits, "common", 1, steps=50 if quick else 100)
    ratio = overhead.whole(tried, DataSource("digits", Path()), Effort(repeats, 0.0))
    return overhead.section(found, tried, ratio)


CONVOLUTIONS = (
    "`triple`'s recipe `paper` on random images of MNIST's shape, pre-training of the classifier: five convolutions "
    "with batch norm and dropout, 50 labelled and 50 unlabelled images per step. Products of the convolutions only."
)


def _explain(name: CaseName, protocol: str, data: str) -> str:
    chosen = case(name)
    shape = "x".join(str(side) for side in chosen.dataset.image_shape)
    return f"Recipe `{protocol}` on {data}, {shape}, {BUDGET} labels. Per run-step {fm_products(chosen).formula()}."
