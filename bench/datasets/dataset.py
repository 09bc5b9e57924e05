"""A dataset: images for everybody, labels behind the firewall."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.datasets.firewall import Examiner, LabelVault

Array = NDArray[Any]


class Scale(NamedTuple):
    """How stored images become network input: `(float(image) - shift) / divisor`, which then lies in `value_range`."""

    shift: float
    divisor: float
    value_range: tuple[float, float] | None


GREY = Scale(0.0, 255.0, (0.0, 1.0))
COLOUR = Scale(127.5, 127.5, (-1.0, 1.0))


class Part(NamedTuple):
    """A training or test set as its source delivers it."""

    images: Array  # [n, *shape], uint8 or float32
    labels: Array  # [n], integers 0..K-1


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images in the source's type, the scale that makes network input of them, and two keepers of labels."""

    name: str  # as tables show it
    train_images: Tensor = field(repr=False)  # [n_images, *image_shape], uint8 or float32; those without a label last
    test_images: Tensor = field(repr=False)  # [n_test, *image_shape]
    classes: int
    shift: float
    divisor: float
    value_range: tuple[float, float] | None  # of the scaled images; None: unbounded
    content_hash: str  # of images, labels and scale; never of a path or a name
    class_names: tuple[str, ...]
    vault: LabelVault = field(repr=False)  # the training labels
    examiner: Examiner = field(repr=False)  # the test labels

    @property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.train_images.shape[1:])

    @property
    def n_train(self) -> int:
        """Training images that have a label: the largest budget."""
        return len(self.vault)

    @property
    def n_images(self) -> int:
        """All training images, those that never had a label included."""
        return len(self.train_images)

    @property
    def n_test(self) -> int:
        return len(self.test_images)

    def scale(self, images: Tensor) -> Tensor:
        """Stored images `[...]` of any part of the dataset as network input `[...]` of torch's default type."""
        return (images.to(torch.get_default_dtype()) - self.shift) / self.divisor

    def unscale(self, images: Tensor) -> Tensor:
        """Network input `[...]` in the type and range of stored images."""
        stored = images * self.divisor + self.shift
        return stored.round().clamp(0, 255).to(torch.uint8) if self.train_images.dtype == torch.uint8 else stored


def assemble(
    name: str, train: Part, test: Part, scale: Scale, class_names: Sequence[str], unlabelled: Array | None = None
) -> Dataset:
    """Makes a dataset of checked arrays. `unlabelled [u, *shape]` are training images without any label."""
    images = train.images if unlabelled is None else np.concatenate([train.images, unlabelled])
    return Dataset(
        name=name,
        train_images=torch.from_numpy(np.ascontiguousarray(images)),
        test_images=torch.from_numpy(np.ascontiguousarray(test.images)),
        classes=len(class_names),
        shift=scale.shift,
        divisor=scale.divisor,
        value_range=scale.value_range,
        content_hash=_content_hash(Part(images, train.labels), test, scale),
        class_names=tuple(class_names),
        vault=LabelVault(train.labels),
        examiner=Examiner(test.labels),
    )


def _content_hash(train: Part, test: Part, scale: Scale) -> str:
    """SHA-256 over the bytes, shapes and types of images and labels, and the scale."""
    digest = hashlib.sha256(json.dumps([scale.shift, scale.divisor]).encode())
    for part in (train, test):
        for array in (part.images, part.labels.astype(np.int64)):
            plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(json.dumps([plain.dtype.str, plain.shape]).encode())
            digest.update(plain.reshape(-1).data)
    return digest.hexdigest()
