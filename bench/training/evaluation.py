"""Wrong predictions of every run of a cohort, with raw and with averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bench.datasets import Dataset, Examiner
from bench.training.ema import Average
from bench.training.executor import LoopExecutor, Networks, VmapExecutor
from bench.variant import Variant


class Evaluator:
    """Meets the test labels, through an `Examiner`, with predictions; nothing else of training does."""

    def __init__(
        self,
        variant: Variant,
        dataset: Dataset,
        networks: Networks,
        averages: Mapping[str, Average],
        executor: VmapExecutor | LoopExecutor,
        device: torch.device,
    ) -> None:
        self.variant, self.dataset, self.networks, self.averages = variant, dataset, networks, averages
        self.executor, self.device = executor, device
        limit = variant.recipe.test_images or dataset.n_test
        self.test_images = dataset.test_images[: min(limit, dataset.n_test)].to(device)

    def test(self, averaged: bool) -> list[int]:
        """Number of wrong test images, per run."""
        predictions = self._over(self.test_images, averaged, lambda logits: logits.argmax(-1))
        return self.dataset.examiner.wrong(predictions).tolist()

    def validate(self, averaged: bool, images: list[Tensor], examiners: list[Examiner]) -> list[int]:
        """Number of wrong validation images, per run; each run has validation images of its own."""
        wrong = []
        for run, (own, examiner) in enumerate(zip(images, examiners, strict=True)):
            predictions = self._over(own, averaged, lambda logits: logits.argmax(-1))
            wrong.append(int(examiner.wrong(predictions[run])))
        return wrong

    def logits(self, averaged: bool) -> Tensor:
        """Test logits `[runs, images, K]`."""
        return self._over(self.test_images, averaged, lambda logits: logits)

    def _over(self, images: Tensor, averaged: bool, read: Callable[[Tensor], Tensor]) -> Tensor:
        parameters = {name: net.parameters for name, net in self.networks.items()}
        buffers = {name: net.buffers for name, net in self.networks.items()}
        if averaged:
            parameters |= {name: average.parameters() for name, average in self.averages.items()}
            buffers |= {name: average.buffers for name, average in self.averages.items()}
        parts = [
            read(self.executor.logits(self.variant.classify, parameters, buffers, self.dataset.scale(part)))
            for part in images.split(self.variant.evaluation_batch)
        ]
        return torch.cat(parts, 1)
