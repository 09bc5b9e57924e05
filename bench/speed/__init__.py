"""`bench speed`: how fast training is on this machine, beside a hand-written loop and the rate of matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from bench.speed import sections
from bench.speed.cases import CaseName, case, fm_products
from bench.speed.rounds import Effort
from bench.speed.setup import BUDGET

FULL, QUICK = Effort(15, 0.4), Effort(3, 0.1)
SIZES, QUICK_SIZES = (1, 5, 15, 30), (1, 5)


def report(quick: bool, say: Callable[[str], None]) -> str:
    """Measures and returns the report as Markdown; `say` gets it section by section.

    Takes about five minutes on a quiet machine; `quick` leaves out the large cohorts on MNIST's shapes and the growth
    of processes, and takes few rounds.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parts = []
    try:
        for part in _sections(quick):
            say(part)
            parts.append(part)
    finally:
        torch.set_num_threads(threads)
    return "\n".join(parts)


def _sections(quick: bool) -> Iterator[str]:
    effort, large = (QUICK, QUICK_SIZES) if quick else (FULL, SIZES)
    yield sections.machine()
    mnist = sections.measure_case("mnist", large, 1, effort)
    yield sections.speed("`fm` on MNIST's shapes", _explain("mnist", "paper", "random images"), mnist, large)
    digits = sections.measure_case("digits", SIZES, 15, effort)
    yield sections.speed("`fm` on digits", _explain("digits", "common", "the dataset"), digits, SIZES)
    conv = sections.measure_case("conv", (1,), 1, effort)
    yield sections.speed("A convolutional classifier", CONVOLUTIONS, conv, (1,))
    titles = {"MNIST": (mnist, 1), "digits": (digits, 15), "convolutions": (conv, 1)}
    yield sections.limits(titles)
    yield sections.memory({"MNIST": ("mnist", mnist), "digits": ("digits", digits)}, () if quick else SIZES)
    yield sections.targets(mnist, digits, conv)


CONVOLUTIONS = (
    "`triple`'s recipe `paper` on random images of MNIST's shape, pre-training of the classifier: five convolutions "
    "with batch norm and dropout, 50 labelled and 50 unlabelled images per step. Products of the convolutions only."
)


def _explain(name: CaseName, protocol: str, data: str) -> str:
    chosen = case(name)
    shape = "x".join(str(side) for side in chosen.dataset.image_shape)
    return f"Recipe `{protocol}` on {data}, {shape}, {BUDGET} labels. Per run-step {fm_products(chosen).formula()}."
