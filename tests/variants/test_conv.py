"""Networks for 32 x 32 colour images: layers against torch's own, cost and shapes as in the papers, first steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import registry
from bench.conformance.cases import Case, synthetic
from bench.variant import Noise, Task
from variants.parts.layers import ChannelDropout, WeightNormConv, WeightNormDeconv
from variants.parts.networks.conv import Deconv

TASK = Task((3, 32, 32), 10, (-1.0, 1.0), 1000, 49_000)
RNG = np.random.default_rng(0)


def scrambled(layer: Any) -> Any:
    with torch.no_grad():
        for value in (layer.scale, layer.bias):
            value.copy_(torch.rand_like(value) + 0.5)
    return layer.double()


def test_weight_norm_conv_normalises_each_kernel() -> None:
    layer = scrambled(WeightNormConv(3, 4, 3, stride=2, padding=1))
    x = torch.from_numpy(RNG.normal(size=(2, 3, 6, 6)))
    v = layer.direction.detach()
    kernel = torch.stack([g * k / k.norm() for g, k in zip(layer.scale, v, strict=True)])
    assert torch.allclose(layer(x), F.conv2d(x, kernel, layer.bias, stride=2, padding=1), atol=1e-3)
    with torch.no_grad():
        layer.direction.mul_(50)  # the length of a direction does not matter, but for the constant beside it
    assert torch.allclose(layer(x), F.conv2d(x, kernel, layer.bias, stride=2, padding=1), atol=1e-7)


def test_weight_norm_deconv_doubles_the_size_and_normalises_per_output_channel() -> None:
    layer = scrambled(WeightNormDeconv(4, 3, std=5.0))
    x = torch.from_numpy(RNG.normal(size=(2, 4, 5, 5)))
    v = layer.direction.detach()
    kernel = torch.stack([layer.scale[k] * v[:, k] / v[:, k].norm() for k in range(3)], 1)
    reference = nn.ConvTranspose2d(4, 3, 5, stride=2, padding=2, output_padding=1).double()
    with torch.no_grad():
        reference.weight.copy_(kernel)
        assert reference.bias is not None
        reference.bias.copy_(layer.bias)
    assert layer(x).shape == (2, 3, 10, 10)
    assert torch.allclose(layer(x), reference(x), rtol=1e-5)


def test_channel_dropout_drops_whole_channels(recorded_noise: Callable[..., Noise]) -> None:
    y = ChannelDropout(0.5)(torch.ones(8, 16, 3, 3, dtype=torch.float64), recorded_noise())
    assert set(y.flatten(2).mean(2).flatten().tolist()) == {0.0, 2.0}
    assert torch.equal(ChannelDropout(0.5)(y, None), y)


def test_calibration_gives_every_channel_mean_0_and_the_target_deviation(recorded_noise: Callable[..., Noise]) -> None:
    variant = registry.get("fm")(TASK, registry.get("fm").recipes["paper"]["svhn"])
    nets = {name: make().double() for name, make in variant.networks().items()}
    images = torch.from_numpy(RNG.uniform(-1, 1, (12, 3, 32, 32)))
    noise = recorded_noise(length=3_000_000)
    nets["discriminator"].calibrate(images, noise.fork())
    logits = nets["discriminator"](images, noise.fork())
    assert logits.mean(0).abs().max().item() < 1e-9
    assert logits.std(0, unbiased=False).tolist() == pytest.approx([0.1] * 10)
    seen: list[Tensor] = []
    (last,) = [m for m in nets["generator"].modules() if isinstance(m, WeightNormDeconv)]
    last.register_forward_hook(lambda module, args, output: seen.append(output))
    z = torch.from_numpy(RNG.random((12, 100)))
    nets["generator"].calibrate(z, noise)
    nets["generator"](z, noise)
    assert seen[-1].std((0, 2, 3), unbiased=False).tolist() == pytest.approx([0.1] * 3)
    assert seen[-1].mean((0, 2, 3)).abs().max().item() < 1e-9


def multiply_adds(network: nn.Module, x: Tensor) -> int:
    """Per example."""
    total = 0

    def count(module: Any, args: Any, output: Tensor) -> None:
        nonlocal total
        kernel = getattr(module, "direction", None)
        kernel = module.weight if kernel is None else kernel
        if kernel.dim() == 2:
            total += kernel.numel()
        elif isinstance(module, Deconv | WeightNormDeconv):
            total += args[0][0].numel() * kernel[0].numel()
        else:
            total += output[0].numel() * kernel[0].numel()

    for module in network.modules():
        if hasattr(module, "direction") or type(module).__name__ in ("Linear", "Deconv", "Conv2d"):
            module.register_forward_hook(count)
    network(x)
    return total


@pytest.mark.parametrize(("dataset", "teraflop"), [("svhn", 0.377), ("colour", 0.738)])
def test_cost_of_a_step_of_the_papers_networks(dataset: str, teraflop: float) -> None:
    """Batches of 100: D three times forward, and back to weights and inputs but the first layer's; G likewise."""
    recipe = registry.get("fm").recipes["paper"][dataset]
    nets = {name: make() for name, make in registry.get("fm")(TASK, recipe).networks().items()}
    d, g = (
        multiply_adds(nets[name], x)
        for name, x in (("discriminator", torch.rand(2, 3, 32, 32)), ("generator", torch.rand(2, 100)))
    )
    assert nets["discriminator"](torch.rand(2, 3, 32, 32), features=1).shape == (2, recipe.classifier[1])
    first = 32 * 32 * recipe.classifier[0] * 27
    d_step = 300 * (2 * d + d - first) + 100 * g
    g_step = 100 * g + 200 * d + 100 * d + 200 * g
    assert 2 * (d_step + g_step) / 1e12 == pytest.approx(teraflop, rel=0.01)


EVERY_TIME = {("fm", "svhn")}  # the others, whose first steps take seconds each, with -m slow
PAPERS = [
    pytest.param(name, recipe, marks=() if (name, recipe) in EVERY_TIME else pytest.mark.slow)
    for name in registry.names() for recipe in registry.get(name).recipes.get("paper", {})
    if recipe in ("svhn", "colour")
]  # fmt: skip


@pytest.mark.parametrize(("name", "recipe"), PAPERS)
def test_paper_recipes_take_their_first_steps(name: str, recipe: str) -> None:
    kind, data = registry.get(name), synthetic("svhn" if recipe == "svhn" else "cifar10", 10)
    case = Case(kind, "paper", kind.recipes["paper"][recipe].smoke(4), data)
    trainer = case.trainer((0,), 3)
    trainer.train()
    errors, logs = trainer.curves.run(0)
    assert len(errors["raw"]) == 1
    assert all(value is not None and np.isfinite(value) for values in logs.values() for value in values)
    assert trainer.diverged_at.tolist() == [-1]
