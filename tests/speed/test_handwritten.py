"""The hand-written loops are a fair yardstick: from the same weights and noise they do what the trainer does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import registry
from bench.speed.cases import Case, case, real_digits
from bench.speed.handwritten import FMLoop
from bench.speed.handwritten_conv import Dropout
from bench.training import noise
from bench.training.trainer import Trainer
from bench.variant import Noise


def step_and_replay(trainer: Trainer) -> tuple[dict[str, Any], list[Noise], list[float]]:
    """One step of a trainer of one run: its batch without the dimension of runs, each player's noise anew, losses."""
    seen: dict[str, Any] = {}
    gather, generator = trainer.batches.gather, torch.Generator()

    def remember() -> dict[str, Any]:
        seen.update(gather())
        return seen

    trainer.batches.gather = remember  # type: ignore[method-assign]
    generator.set_state(trainer.generators[0].get_state())
    trainer.step()
    tapes = [noise.record([generator], lengths, trainer.device) for lengths in trainer.lengths.values()]
    batch = {k: tuple(p[0] for p in v) if isinstance(v, tuple) else v[0] for k, v in seen.items()}
    losses = [value.item() for name, value in trainer.logs.current().items() if name.endswith("/loss")]
    return batch, [Noise(tape.normal[0], tape.uniform[0]) for tape in tapes], losses


def tensors(trainer: Trainer, network: str) -> dict[str, Tensor]:
    net = trainer.networks[network]
    return {name: value[0].clone() for name, value in {**net.parameters, **net.buffers}.items()}


def load(module: nn.Module, values: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Copies a trainer's tensors under the names that the hand-written module has for them."""
    state = {names[name]: value for name, value in values.items()}
    module.load_state_dict(module.state_dict() | state)
    assert set(state) >= {name for name, _ in module.named_parameters()}


def differences(module: nn.Module, values: Mapping[str, Tensor], names: Mapping[str, str]) -> float:
    """The largest difference in any parameter."""
    mine = dict(module.named_parameters())
    pairs = [(mine[names[name]], value) for name, value in values.items() if names[name] in mine]
    assert len(pairs) == len(mine)
    return max((a.detach() - b).abs().max().item() for a, b in pairs)


def fm_names(loop: FMLoop) -> tuple[dict[str, str], dict[str, str]]:
    """The trainer's names of tensors -> the hand-written ones, for discriminator and generator."""
    inner = {"direction": "v", "bias": "b", "scale": "g"}
    last, hidden = len(loop.discriminator.layers) - 1, len(loop.generator.linears)
    d = {f"body.layers.{3 * k + 2}.{a}": f"layers.{k}.{b}" for k in range(last) for a, b in inner.items()}
    d |= {f"head.layers.1.{a}": f"layers.{last}.{b}" for a, b in inner.items()}
    g = {f"layers.{3 * k}.weight": f"linears.{k}.weight" for k in range(hidden)}
    g |= {f"layers.{3 * k + 1}.shift": f"shifts.{k}" for k in range(hidden)}
    return d, g | {f"layers.{3 * hidden}.{a}": f"out.{b}" for a, b in inner.items()}


def fm_case(name: str) -> Case:
    """The recipes that are measured; the paper's with narrower networks and on digits."""
    if name == "digits":
        return case("digits")
    fm = registry.get("fm")
    narrow = {"classifier": (96, 64, 48), "generator": (64, 64), "initial_batch": 100}
    return Case(fm, fm.recipe_for("paper", "mnist", "grey").model_copy(update=narrow), real_digits(), FMLoop)


def conv_names(net: nn.Sequential) -> dict[str, str]:
    """Every layer of the trainer's body has its place; its linear layer stands alone in the head."""
    norms = {"gain": "weight", "shift": "bias"}
    names = {"head.layers.0.weight": f"{len(net) - 1}.weight", "head.layers.0.bias": f"{len(net) - 1}.bias"}
    for index, layer in enumerate(net):
        if isinstance(layer, nn.Conv2d):
            names[f"body.layers.{index + 1}.weight"] = f"{index}.weight"
        if isinstance(layer, nn.BatchNorm2d):
            names |= {f"body.layers.{index + 1}.{a}": f"{index}.{b}" for a, b in norms.items()}
            names |= {f"body.layers.{index + 1}.running_{k}": f"{index}.running_{k}" for k in ("mean", "var")}
    return names


@pytest.mark.parametrize("name", [pytest.param("mnist", marks=pytest.mark.slow), "digits"])
def test_fm_step_equals_the_trainers(name: str) -> None:
    trainer, loop = fm_case(name).trainer(1), fm_case(name).handwritten()
    names_d, names_g = fm_names(loop)
    start_d, start_g = tensors(trainer, "discriminator"), tensors(trainer, "generator")
    load(loop.discriminator, start_d, names_d)
    load(loop.generator, start_g, names_g)

    batch, (noise_d, noise_g), losses = step_and_replay(trainer)
    loop.rand, loop.discriminator.randn = noise_d.uniform, noise_d.normal
    d_loss = loop.update_discriminator(*batch["labelled"], batch["unlabelled"])
    loop.rand, loop.discriminator.randn = noise_g.uniform, noise_g.normal
    g_loss = loop.update_generator(batch["unlabelled_generator"])

    assert [d_loss.item(), g_loss.item()] == pytest.approx(losses, rel=1e-4)
    assert differences(loop.discriminator, start_d, names_d) > 1e-3
    assert differences(loop.generator, start_g, names_g) > 1e-3
    assert differences(loop.discriminator, tensors(trainer, "discriminator"), names_d) < 1e-4
    assert differences(loop.generator, tensors(trainer, "generator"), names_g) < 1e-4


def test_pretraining_step_equals_the_trainers() -> None:
    chosen = case("conv")
    trainer, loop = chosen.trainer(1), chosen.handwritten()
    names = conv_names(loop.net)
    start = tensors(trainer, "classifier")
    load(loop.net, start, names)

    batch, (tape,), losses = step_and_replay(trainer)
    for layer in loop.net:
        if isinstance(layer, Dropout):
            layer.rand = tape.uniform
    loss = loop.update(*batch["labelled"], batch["pretraining"])

    assert loss.item() == pytest.approx(losses[0], rel=1e-4)
    assert differences(loop.net, start, names) > 2e-4
    assert differences(loop.net, tensors(trainer, "classifier"), names) < 1e-4
