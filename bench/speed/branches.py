"""The runs of a cohort one after another, but on several streams of a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from bench.training.executor import LoopExecutor, Networks
from bench.training.precision import FP32, Precision

STREAMS = 8  # more kernels of small runs than that are not under way at the same time


class BranchExecutor(LoopExecutor):
    """In a captured step the streams become branches of its graph, which may run side by side."""

    name = "branches"

    def __init__(self, networks: Networks, device: torch.device, precision: Precision = FP32) -> None:
        super().__init__(networks, math.inf, precision)
        self.device, self.streams = device, [torch.cuda.Stream(device) for _ in range(STREAMS)]

    def each(self) -> Iterator[int]:
        """The runs, in turn; what is called while one of them is due goes on a stream of its own."""
        main = torch.cuda.current_stream(self.device)
        for stream in self.streams:
            stream.wait_stream(main)
        for run in super().each():
            with torch.cuda.stream(self.streams[run % STREAMS]):
                yield run
        for stream in self.streams:
            main.wait_stream(stream)
