"""Defects of published code that recipes can have, each against NumPy or by the calls that it changes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.variant import Examples, Task
from variants.fm import FM, FMRecipe
from variants.option2 import OptionII
from variants.parts.recipes import AdversarialRecipe

K, PROGRESS = 3, torch.zeros(())
SMALL: dict[str, Any] = {"steps": 1, "batch": 4}
RNG = np.random.default_rng(0)


def test_a_lost_class_has_the_zero_vector_as_its_target_and_is_never_found(tiny_task: Task) -> None:
    """The gradient is softmax - target, with a target of zeros for the first class."""
    logits = torch.from_numpy(RNG.normal(size=(4, K))).requires_grad_()
    labels = torch.tensor([0, 2, 1, 0])
    variant = FM(tiny_task, FMRecipe(**SMALL, lost_class=True))
    variant.label_loss(logits, labels).backward()
    p = np.exp(logits.detach().numpy())
    target = np.eye(K)[labels] * (labels.numpy() > 0)[:, None]
    assert logits.grad is not None
    assert logits.grad.numpy() == pytest.approx((p / p.sum(1, keepdims=True) - target) / 4)
    always = torch.zeros(4, K)
    always[:, 0] = 9.0
    assert (variant.class_logits(always).argmax(1) > 0).all()
    plain = FM(tiny_task, FMRecipe(**SMALL))
    assert torch.equal(plain.class_logits(always), always)
    assert plain.label_loss(logits, labels).item() == pytest.approx(F.cross_entropy(logits, labels).item())


@pytest.mark.parametrize("statistics", ["unlabelled", "all"])
def test_running_statistics_follow_unlabelled_images_or_every_batch(
    statistics: Any, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    task = Task((1, 8, 8), K, (0.0, 1.0), 4, 100)
    fields = {**SMALL, "network": "ghaboosi", "matching_weight": 1.0, "adversarial_weight": 1.0}
    variant = OptionII(task, AdversarialRecipe.model_validate({**fields, "statistics": statistics}))
    images = torch.rand(3, 4, 1, 8, 8, dtype=torch.float64)
    batch = {"labelled": Examples(images[0], torch.tensor([0, 1, 2, 0])), "unlabelled": images[1],
             "unlabelled_generator": images[2]}  # fmt: skip
    logits, features = torch.zeros(4, K, dtype=torch.float64), torch.zeros(4, 5, dtype=torch.float64)
    nets = SimpleNamespace(
        discriminator=fake(logits, logits, logits, features, features, logits), generator=fake(images[0], images[0])
    )
    variant.discriminator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    variant.generator_loss(nets, batch, recorded_noise(), {}, PROGRESS)
    labelled, unlabelled, generated, real, *fooled = (o.get("update", False) for o in nets.discriminator.options)
    assert unlabelled
    assert {labelled, generated, *fooled} == {statistics == "all"}
    assert not real  # matched against, and has been counted in the discriminator's step
