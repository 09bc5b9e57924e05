"""The two executors: one rule chooses, and both compute the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench import registry
from bench.datasets import make_split
from bench.datasets.dataset import COLOUR, GREY, Part, Scale, assemble
from bench.grid import task_of
from bench.training.executor import LARGEST_STACKED, LoopExecutor, VmapExecutor, choose, stacks
from bench.training.noise import Tape
from bench.training.storage import PADDING, StackedNetwork, build, template
from bench.training.trainer import Trainer
from bench.variant import Noise, Phase
from variants.parts.layers import WeightNormConv, WeightNormDeconv

CPU = torch.device("cpu")
MakeTrainer = Callable[..., Trainer]


def use_loop(trainer: Trainer) -> Trainer:
    trainer.executor = trainer.evaluator.executor = LoopExecutor(trainer.networks)
    return trainer


def parameters(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {f"{n}/{k}": v for n, net in trainer.networks.items() for k, v in {**net.parameters, **net.buffers}.items()}


# --- the rule ---


def test_large_weights_and_convolutions_run_in_a_loop_on_a_cpu() -> None:
    small, at_the_limit, large = nn.Linear(512, 256), nn.Linear(LARGEST_STACKED, 1), nn.Linear(LARGEST_STACKED + 1, 1)
    assert stacks([small], CPU)
    assert stacks([at_the_limit], CPU)
    assert not stacks([large], CPU)
    assert not stacks([small, large], CPU)
    assert not stacks([small, nn.Sequential(nn.Conv2d(1, 1, 1))], CPU)
    assert not stacks([nn.ConvTranspose2d(1, 1, 1)], CPU)
    assert not stacks([nn.Conv1d(1, 1, 3)], CPU)
    assert not stacks([small, WeightNormConv(1, 1, 3)], CPU)
    assert not stacks([WeightNormDeconv(1, 1)], CPU)
    assert stacks([large, nn.Conv2d(1, 1, 1)], torch.device("cuda"))


@pytest.mark.parametrize("layer", [lambda: nn.Linear(8, 8), lambda: nn.Conv2d(1, 1, 3)])
def test_the_rule_does_not_depend_on_the_number_of_runs(layer: Callable[[], nn.Module]) -> None:
    kinds = {
        type(choose({"x": StackedNetwork(template(layer), [layer() for _ in range(runs)], CPU)}, CPU))
        for runs in (1, 2, 15, 40)
    }
    assert len(kinds) == 1


# --- agreement ---


def test_vmap_and_loop_agree(toy: type[Any], make_trainer: MakeTrainer) -> None:
    stacked, looped = make_trainer(toy, (0, 1, 2)), use_loop(make_trainer(toy, (0, 1, 2)))
    assert isinstance(stacked.executor, VmapExecutor)
    for trainer in (stacked, looped):
        trainer.train()
    for name, value in parameters(stacked).items():
        assert value.numpy() == pytest.approx(parameters(looped)[name].numpy(), abs=1e-5), name
    assert stacked.logs.current() == looped.logs.current() == {}
    a, b = (trainer.curves.logs[0] for trainer in (stacked, looped))
    assert a.keys() == b.keys() == {"classifier/loss", "classifier/spread"}
    assert all(a[name] == pytest.approx(b[name], rel=1e-4) for name in a)
    logits = [trainer.evaluator.logits(averaged=True) for trainer in (stacked, looped)]
    assert logits[0].shape == (3, 500, 10)
    assert logits[0].numpy() == pytest.approx(logits[1].numpy(), abs=1e-4)


@pytest.mark.parametrize("loop", [False, True])
def test_runs_in_a_cohort_have_the_bits_that_they_have_alone(
    loop: bool, toy: type[Any], make_trainer: MakeTrainer
) -> None:
    prepare = use_loop if loop else (lambda trainer: trainer)
    together = prepare(make_trainer(toy, (4, 5, 6)))
    together.train()
    for row, seed in enumerate((4, 5, 6)):
        alone = prepare(make_trainer(toy, (seed,)))
        alone.train()
        for name, value in parameters(alone).items():
            assert torch.equal(value[0], parameters(together)[name][row]), name
        assert alone.curves.run(0) == together.curves.run(row)


@pytest.mark.parametrize("executor", [VmapExecutor, LoopExecutor])
def test_gradients_equal_autograd_and_stay_within_the_owned_networks(
    executor: Callable[..., Any], toy: type[Any], make_trainer: MakeTrainer
) -> None:
    trainer = make_trainer(toy, (0, 1))
    nets = trainer.networks
    batch = trainer.batches.next(1)
    tape = torch.randn(2, 4096), torch.rand(2, 4096)
    modules = []
    for run in range(2):  # plain modules with the same weights
        pair = {name: copy.deepcopy(make()) for name, make in trainer.variant.networks().items()}
        for name, module in pair.items():
            values = {**nets[name].parameters, **nets[name].buffers}
            module.load_state_dict({k: v[run] for k, v in values.items()})
        modules.append(SimpleNamespace(**pair))
    rows = [{"labelled": type(batch["labelled"])(*(x[run] for x in batch["labelled"])),
             "unlabelled": batch["unlabelled"][run]} for run in range(2)]  # fmt: skip
    values, logs, state = executor(nets).losses(
        trainer.variant.loss, frozenset({"classifier"}), batch, Tape(*tape), {}, torch.zeros(())
    )
    assert state == {}
    gradients = nets["classifier"].views(nets["classifier"].gradient)
    for run in range(2):
        loss, log = trainer.variant.loss(
            modules[run], rows[run], Noise(tape[0][run], tape[1][run]), {}, torch.zeros(())
        )
        loss.backward()
        assert values[run].item() == pytest.approx(loss.item(), rel=1e-5)
        assert logs["spread"][run].item() == pytest.approx(log["spread"].item(), rel=1e-5)
        for name, parameter in modules[run].classifier.named_parameters():
            assert parameter.grad is not None
            assert gradients[name][run].numpy() == pytest.approx(parameter.grad.numpy(), abs=1e-6), name
        for name, buffer in modules[run].classifier.named_buffers():
            assert nets["classifier"].buffers[name][run].numpy() == pytest.approx(buffer.numpy(), abs=1e-6)
    assert nets["other"].gradient.abs().max().item() == 0


@dataclass
class Scaled:
    """A loss as an object that is equal to others, and so has no hash."""

    factor: float
    variant: Any

    def __call__(self, *args: Any) -> Any:
        loss, logs = self.variant.loss(*args)
        return self.factor * loss, logs


@pytest.mark.parametrize("loop", [False, True])
def test_losses_are_told_apart_by_what_they_are(loop: bool, toy: type[Any], make_trainer: MakeTrainer) -> None:
    """Not by what they are equal to."""

    class Objects(toy):  # type: ignore[misc]
        def phases(self) -> tuple[Phase, ...]:
            (phase,) = super().phases()
            loss = Scaled(1.0, self)
            return (replace(phase, players=(replace(phase.players[0], loss=loss),)),)

    trainer, expected = (make_trainer(kind, (0, 1)) for kind in (Objects, toy))
    for one in (trainer, expected):
        (use_loop(one) if loop else one).train()
    assert torch.equal(trainer.networks["classifier"].flat, expected.networks["classifier"].flat)


# --- storage ---


def test_storage_is_flat_padded_and_shared() -> None:
    modules = [nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)]
    net = StackedNetwork(template(lambda: nn.Linear(3, 2)), modules, CPU)
    assert net.flat.numel() % PADDING == 0
    assert {name: tuple(value.shape) for name, value in net.parameters.items()} == {"weight": (3, 2, 3), "bias": (3, 2)}
    for run, module in enumerate(modules):
        assert torch.equal(net.parameters["weight"][run], module.weight)
    net.flat.fill_(2.0)
    assert net.parameters["weight"].unique().tolist() == [2.0]
    net.keep_gradients({"weight": torch.ones(3, 2, 3), "bias": torch.zeros(3, 2)})
    net.keep_gradients({"bias": torch.ones(2)}, run=1)
    assert net.gradient.sum().item() == 3 * 2 * 3 + 2
    assert net.gradients["bias"].tolist() == [[0, 0], [1, 1], [0, 0]]
    assert net.finite().tolist() == [True] * 3
    net.parameters["bias"][1, 0] = float("nan")
    assert net.finite().tolist() == [True, False, True]


def test_networks_are_initialised_from_streams_of_their_own() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    keys = ((0, "a"), (0, "a"), (0, "b"), (1, "a"))
    a, again, other_name, other_seed = (build(lambda: nn.Linear(4, 4), *key).state_dict()["weight"] for key in keys)
    assert torch.equal(a, again)
    assert not torch.equal(a, other_name)
    assert not torch.equal(a, other_seed)
    assert torch.equal(torch.get_rng_state(), before)


# --- networks of their real size ---

SIZED = [("mnist", GREY, (1, 28, 28), name) for name in ("supervised", "fm", "margin", "triple", "ugan")]
SIZED += [("cifar10", COLOUR, (3, 32, 32), name) for name in ("supervised", "entmin")]


@pytest.mark.slow
@pytest.mark.parametrize(("data", "scale", "shape", "name"), SIZED)
def test_whatever_the_rule_chooses_has_the_same_bits_alone(
    data: str, scale: Scale, shape: tuple[int, ...], name: str
) -> None:
    """Untraced for some steps, then traced; libraries choose their kernels by shapes, so small ones show nothing."""
    rng, kind = np.random.default_rng(0), registry.get(name)
    parts = (
        Part(rng.integers(0, 256, (images, *shape), dtype=np.uint8), np.arange(images) % 10) for images in (2000, 100)
    )
    dataset = assemble(f"{data}-shaped", *parts, scale, tuple("0123456789"))
    recipe = kind.recipe_for("common", data, task_of(dataset, 100, 0, None).shape_class)

    def trained(*seeds: int) -> Trainer:
        variant = kind(task_of(dataset, 100, 0, None), recipe.model_copy(update={"evaluations": 1}))
        splits = [make_split(dataset, seed=seed, budget=100, selection="balanced") for seed in seeds]
        trainer = Trainer(variant, dataset, splits, seeds, 8, CPU)
        trainer.executor.repeated.trace_after = 3
        trainer.train()
        return trainer

    together = trained(0, 1, 2, 3)
    for seeds in ((1,), (3, 2)):
        apart = trained(*seeds)
        for row, seed in enumerate(seeds):
            for key, value in parameters(apart).items():
                assert torch.equal(value[row], parameters(together)[key][seed]), key
            assert apart.curves.run(row) == together.curves.run(seed)
