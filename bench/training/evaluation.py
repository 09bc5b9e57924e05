"""Wrong predictions of every run of a cohort, with raw and with averaged weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bench.datasets import Dataset, Split, spread
from bench.training.ema import Average
from bench.training.executor import LoopExecutor, Networks, VmapExecutor
from bench.variant import Variant


class Evaluator:
    """Meets the test labels, through an `Examiner`, with predictions; nothing else of training does."""

    def __init__(
        self,
        variant: Variant,
        dataset: Dataset,
        splits: Sequence[Split],
        networks: Networks,
        averages: Mapping[str, Average],
        executor: VmapExecutor | LoopExecutor,
        device: torch.device,
    ) -> None:
        self.variant, self.dataset, self.networks, self.averages = variant, dataset, networks, averages
        self.executor = executor
        limit = variant.recipe.test_images or dataset.n_test
        self.test_images = dataset.test_images[spread(dataset.n_test, min(limit, dataset.n_test))].to(device)
        self.validation = [split.validation for split in splits if split.validation is not None]
        if self.validation:
            indices = torch.stack([torch.from_numpy(split.validation_indices) for split in splits])
            self.validation_images = dataset.train_images[indices].to(device)  # [runs, images, *image_shape]

    def test(self, averaged: bool) -> list[int]:
        """Number of wrong test images, per run."""
        return self.dataset.examiner.wrong(self.logits(averaged).argmax(-1)).tolist()

    def validate(self, averaged: bool) -> list[int]:
        """Number of wrong validation images, per run; each run has images of its own."""
        predictions = self.answers(self.validation_images, averaged, shared=False).argmax(-1)
        return [int(examiner.wrong(own)) for examiner, own in zip(self.validation, predictions, strict=True)]

    def logits(self, averaged: bool) -> Tensor:
        """Test logits `[runs, images, K]`."""
        return self.answers(self.test_images, averaged, shared=True)

    def answers(self, images: Tensor, averaged: bool, shared: bool) -> Tensor:
        """Logits `[runs, images, K]` for images that all runs share, or for `[runs, images, *image_shape]`."""
        parameters = {name: net.parameters for name, net in self.networks.items()}
        buffers = {name: net.buffers for name, net in self.networks.items()}
        if averaged:
            parameters |= {name: average.parameters() for name, average in self.averages.items()}
            buffers |= {name: average.buffers for name, average in self.averages.items()}
        with self.executor.precision.kernels():
            parts = [
                self.executor.logits(self.variant.classify, parameters, buffers, self.dataset.scale(part), shared)
                for part in images.split(self.variant.evaluation_batch, 0 if shared else 1)
            ]
        return torch.cat(parts, 1)
