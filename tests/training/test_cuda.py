"""What only a GPU can show; skipped where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench import registry
from bench.conformance.cases import Case, cases
from bench.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

STEPS, WARM = 8, 4


def trainer_on(device: str, case: Case, seeds: tuple[int, ...]) -> Trainer:
    return Trainer(case.variant(), case.dataset, case.splits(seeds), seeds, STEPS, torch.device(device))


@pytest.fixture(params=[name for name in registry.names() if name != "belt"])
def case(request: pytest.FixtureRequest) -> Case:
    common = cases(registry.get(request.param))[0]
    return replace(common, recipe=common.recipe.model_copy(update={"evaluations": 1}))


def test_a_cohort_trains_and_is_evaluated(case: Case) -> None:
    trainer = trainer_on("cuda", case, (0, 1))
    trainer.train()
    assert trainer.diverged_at.tolist() == [-1, -1]
    assert all(net.flat.device.type == "cuda" for net in trainer.networks.values())
    errors, _ = trainer.curves.run(0)
    assert all(0 <= wrong[-1] <= len(trainer.evaluator.test_images) for wrong in errors.values())


def test_no_step_waits_for_the_device(case: Case) -> None:
    trainer = trainer_on("cuda", case, (0, 1))
    trainer.executor.trace_after = 10**9  # type: ignore[union-attr]
    for _ in range(WARM):
        trainer.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        while trainer.at < STEPS:
            trainer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_first_losses_agree_with_those_of_a_cpu(case: Case) -> None:
    """Up to noise: generators of different devices draw different numbers, so only scales can be compared."""
    losses = {}
    for device in ("cpu", "cuda"):
        trainer = trainer_on(device, case, tuple(range(15)))
        trainer.step()
        losses[device] = {name: value.cpu() for name, value in trainer.logs.current().items() if name.endswith("/loss")}
    assert losses["cpu"].keys() == losses["cuda"].keys()
    for name, expected in losses["cpu"].items():
        spread = 4 * (expected.std() + losses["cuda"][name].std()) / 15**0.5 + 1e-3 * expected.abs().max()
        assert (expected.mean() - losses["cuda"][name].mean()).abs() <= spread, name
