"""The plain loop does what the trainer does: for every variant, in each of its phases, from the same start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.conformance.cases import Case, cases
from bench.speed.phases import only
from bench.speed.plain import PlainLoop
from bench.training import noise
from bench.training.batches import Batches
from bench.training.noise import Lengths
from bench.training.trainer import Trainer
from bench.variant import Noise, Phase

CPU = torch.device("cpu")
STEPS = 6


def pair(case: Case, phase: Phase) -> tuple[Trainer, PlainLoop]:
    """A trainer and a plain loop with the trainer's weights, state, minibatches and noise."""
    splits = case.splits((0,))
    trainer = Trainer(only(case.variant(), phase.name), case.dataset, splits, (0,), STEPS, CPU)
    loop = PlainLoop(only(case.variant(), phase.name), case.dataset, case.splits((0,))[0], CPU)
    for name, net in trainer.networks.items():
        own = {key: value[0].clone() for key, value in {**net.parameters, **net.buffers}.items()}
        loop.networks[name].load_state_dict(own)
    loop.state = {name: value[0].clone() for name, value in trainer.state.items()}
    for value, live in pairs_of(loop):  # averages and means start at the weights, which have come after them
        value.copy_(live)
    batches = Batches(case.variant().draws(), case.dataset, case.splits((0,)), (0,), CPU, case.dataset.train_images)
    generator = torch.Generator()
    generator.set_state(trainer.generators[0].get_state())

    def batch(_: object) -> dict[str, Any]:
        drawn = batches.next(STEPS)
        return {k: type(v)(*(p[0] for p in v)) if isinstance(v, tuple) else v[0] for k, v in drawn.items()}

    def tape(lengths: Lengths) -> Noise:
        drawn = noise.record([generator], lengths, CPU)
        return Noise(drawn.normal[0], drawn.uniform[0])

    loop.batch_of, loop.noise = batch, tape  # type: ignore[method-assign, assignment]
    return trainer, loop


def pairs_of(loop: PlainLoop) -> list[tuple[Tensor, Tensor]]:
    """Every average and historical mean of weights, beside the weights."""
    kept = [(a.values, a.live) for a in loop.averages.values() if a.start == "weights"]
    kept += [(h.means, h.live) for h in loop.histories.values()]
    return [(value, live.detach()) for values, lives in kept for value, live in zip(values, lives, strict=True)]


def losses_of(trainer: Trainer) -> dict[str, float]:
    """The losses of a trainer's next step."""
    trainer.logs.reset()
    trainer.step()
    return {k.removesuffix("/loss"): v.item() for k, v in trainer.logs.current().items() if k.endswith("/loss")}


def plain(found: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in found.items()}


def named(loop: PlainLoop, network: str) -> dict[str, Tensor]:
    """The averaged weights and statistics of a network."""
    module = loop.networks[network]
    names = [*dict(module.named_parameters()), *floats(dict(module.named_buffers()))]
    return dict(zip(names, loop.averages[network].values, strict=True))


def floats(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if value.is_floating_point()}


@pytest.mark.parametrize("name", registry.names())
def test_first_step_has_the_trainers_losses(name: str) -> None:
    for case in cases(registry.get(name)):
        for phase in case.variant().phases():
            if phase.share > 0:
                trainer, loop = pair(case, phase)
                assert plain(loop.step()) == pytest.approx(losses_of(trainer), rel=2e-4, abs=1e-6), (case, phase.name)


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, value in found.items():
        torch.testing.assert_close(value.detach(), expected[name][0], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("fm", {}), ("fm", {"historical_weight": 0.1}), ("fm", {"eps_inside": True}), ("triple", {}), ("margin", {})],
)
def test_some_steps_stay_with_the_trainer(name: str, changes: dict[str, Any]) -> None:
    """Losses, weights, batch-norm statistics and averages; in every phase, whose optimisers differ."""
    first = cases(registry.get(name))[0]
    case = replace(first, recipe=first.recipe.model_copy(update=changes))
    for phase in case.variant().phases():
        if phase.share > 0:
            trainer, loop = pair(case, phase)
            for step in range(STEPS):
                assert plain(loop.step(step / STEPS)) == pytest.approx(losses_of(trainer), rel=1e-3), phase.name
            for key, net in trainer.networks.items():
                close(loop.nets.__dict__[key].tensors, {**net.parameters, **net.buffers})
            for key, average in trainer.averages.items():
                close(named(loop, key), {**average.parameters(), **floats(average.buffers)})
