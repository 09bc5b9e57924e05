"""Networks of published code: numbers of parameters and shapes as in the originals, layers against NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import registry
from bench.variant import Task
from variants.parts.networks.mlp import NO_MINIBATCH, Norm
from variants.parts.networks.resnet import dcgan, resnet18
from variants.parts.networks.sources import SIDES, SameConv, source_classifier, source_generator
from variants.parts.networks.thirteen import (
    ConvGenerator,
    ConvPairDiscriminator,
    MeanOnly,
    cifar_classifier,
    svhn_classifier,
    zca,
)

PLAIN: dict[str, Any] = {"input_dropout": 0.0, "hidden_dropout": 0.0, "running": True, "minibatch": NO_MINIBATCH}
COLOUR = Task((3, 32, 32), 10, (-1.0, 1.0), 100, 1000)


def task(side: int, channels: int, classes: int = 10) -> Task:
    return Task((channels, side, side), classes, (-1.0, 1.0), 100, 1000)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# name, side, channels, outputs, parameters of D and of G: counted by hand from the layers of the published code
SOURCES = [
    ("silva", 32, 3, 10, 446_730, 465_795),
    ("ghaboosi", 28, 1, 11, 123_915, 132_109),
    ("raghav", 64, 1, 11, 7_356_811, 3_445_377),
    ("sgan", 28, 1, 10, 113_546, 1_636_737),
]


@pytest.mark.parametrize(("name", "side", "channels", "outputs", "d", "g"), SOURCES)
def test_sizes_of_published_networks(name: str, side: int, channels: int, outputs: int, d: int, g: int) -> None:
    own = task(side, channels)
    classifier = source_classifier(name, own, outputs, **PLAIN)
    generator = source_generator(name, own, Norm(gain=True))
    assert (parameters(classifier), parameters(generator)) == (d, g)
    images = generator(torch.rand(3, 100))
    assert images.shape == (3, channels, side, side)
    assert images.abs().max() <= 1
    assert classifier(images).shape == (3, outputs)


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 80, 60)])
def test_other_images_are_resized(name: str, shape: tuple[int, ...]) -> None:
    own = Task(shape, 10, (0.0, 1.0), 100, 1000)
    images = source_generator(name, own, Norm(gain=True))(torch.rand(2, 100))
    assert images.shape == (2, *shape)
    assert images.min() >= 0
    assert source_classifier(name, own, 10, **PLAIN)(images).shape == (2, 10)


def test_resnet18_and_its_generator() -> None:
    own = task(224, 3, classes=2)
    classifier, generator = resnet18(own, 2, **PLAIN), dcgan(own, Norm(gain=True))
    assert (parameters(classifier), parameters(generator)) == (11_177_538, 5_266_304)
    images = generator(torch.randn(2, 100))
    assert images.shape == (2, 3, 224, 224)
    assert classifier(images).shape == (2, 2)
    assert dcgan(task(64, 3), Norm(gain=True))(torch.randn(2, 100)).shape == (2, 3, 64, 64)


def test_resnet18_is_torchvisions() -> None:
    """With the same weights, in evaluation."""
    from torchvision.models import resnet18 as reference

    torch.manual_seed(0)
    ours, theirs = resnet18(task(64, 3), 10, **PLAIN), reference(num_classes=10).eval()
    own = [p for net in (ours.body, ours.head) for p in net.parameters()]
    other = list(theirs.parameters())
    by_shape: dict[tuple[int, ...], list[Tensor]] = {}
    for p in other:
        by_shape.setdefault(tuple(p.shape), []).append(p.data)
    assert sorted(tuple(p.shape) for p in own) == sorted(tuple(p.shape) for p in other)
    weights = iter(_in_our_order(theirs))
    with torch.no_grad():
        for p in own:
            p.copy_(next(weights))
    x = torch.randn(2, 3, 64, 64)
    assert torch.allclose(ours(x), theirs(x), atol=1e-4)


def _in_our_order(net: Any) -> Iterator[Tensor]:
    """A block's two convolutions come first here, then its two norms, then the way around."""
    yield from (net.conv1.weight, net.bn1.weight, net.bn1.bias)
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in stage:
            yield from (block.conv1.weight, block.conv2.weight)
            yield from (block.bn1.weight, block.bn1.bias, block.bn2.weight, block.bn2.bias)
            if block.downsample is not None:
                yield from block.downsample.parameters()
    yield from (net.fc.weight, net.fc.bias)


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (28, 5, 2), (7, 2, 2), (16, 4, 4), (5, 3, 1)]
)
def test_same_padding_puts_the_odd_pixel_last(size: int, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    layer, x = SameConv(1, 1, kernel, stride).double(), np.random.default_rng(0).normal(size=(size, size))
    out = layer(torch.from_numpy(x)[None, None])[0, 0].detach().numpy()
    n = -(-size // stride)
    missing = max((n - 1) * stride + kernel - size, 0)
    padded = np.pad(x, ((missing // 2, missing - missing // 2),) * 2)
    weight = layer.conv.weight[0, 0].detach().numpy()
    expected = [
        [(padded[i * stride : i * stride + kernel, j * stride : j * stride + kernel] * weight).sum() for j in range(n)]
        for i in range(n)
    ]
    assert out == pytest.approx(np.array(expected))


def test_evaluation_with_the_batchs_own_statistics() -> None:
    """As one published code ran: an answer then depends on the other images; with running statistics it does not."""
    torch.manual_seed(0)
    x = torch.randn(6, 3, 32, 32)
    for running in (True, False):
        net = source_classifier("silva", COLOUR, 10, **{**PLAIN, "running": running})
        assert torch.allclose(net(x)[:3], net(x[:3]), atol=1e-5) == running


# --- Triple-GAN on colour images ---


def test_thirteen_layers() -> None:
    """Convolutions without bias: 3 x 3 of 128 and 256 channels, three each, then 512, and 1 x 1 of 256 and 128."""
    weights = 9 * (3 * 128 + 2 * 128**2 + 128 * 256 + 2 * 256**2 + 256 * 512) + 512 * 256 + 256 * 128
    norms = 2 * (3 * 128 + 3 * 256 + 512 + 256 + 128)
    whitening = torch.eye(3072), torch.zeros(3072)
    svhn, cifar = svhn_classifier(COLOUR), cifar_classifier(COLOUR, lambda: whitening)
    assert parameters(svhn) == weights + norms + (128 * 10 + 10) + 2 * 10
    assert parameters(cifar) == weights + norms + 128 * 10 + 2 * 10
    x = torch.rand(2, 3, 32, 32)
    assert svhn(x).shape == cifar(x).shape == (2, 10)
    assert svhn(x, features=1).shape == (2, 128)


def test_conditional_generator_and_pair_discriminator() -> None:
    g, d = ConvGenerator(COLOUR, (512, 256, 128)), ConvPairDiscriminator(COLOUR, (32, 64, 128))
    k = 10
    expected = (100 + k) * 8192 + 8192 + 25 * ((512 + k) * 256 + (256 + k) * 128 + (128 + k) * 3) + 256 + 128 + 3 + 3
    assert parameters(g) == expected
    convs = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    assert parameters(d) == sum(9 * (i + k) * o + o for i, o in convs) + (128 + k) + 1 + 1
    y = torch.eye(k)[:3]
    images = g(torch.rand(3, 100), y)
    assert images.shape == (3, 3, 32, 32)
    assert d(images, y).shape == (3,)
    assert not torch.allclose(d(images, y), d(images, y.roll(1, 0)))


def test_mean_only_batch_norm() -> None:
    torch.manual_seed(0)
    layer = MeanOnly((4, 6), torch.nn.functional.linear).double()
    with torch.no_grad():
        layer.scale.copy_(torch.rand(4))
        layer.shift.copy_(torch.rand(4))
    x = np.random.default_rng(0).normal(size=(5, 6))
    v = layer.direction.detach().numpy()
    w = v / np.sqrt((v**2).sum(1, keepdims=True) + 1e-6) * layer.scale.detach().numpy()[:, None]
    y, shift = x @ w.T, layer.shift.detach().numpy()
    noise: Any = object()
    assert layer(torch.from_numpy(x), noise).detach().numpy() == pytest.approx(y - y.mean(0) + shift)
    layer(torch.from_numpy(x), noise, update=True)
    assert layer.running_mean.numpy() == pytest.approx(0.001 * y.mean(0))
    assert layer(torch.from_numpy(x)).detach().numpy() == pytest.approx(y - 0.001 * y.mean(0) + shift)
    layer.calibrate(torch.from_numpy(x))
    assert layer.linear(torch.from_numpy(x)).std(0, unbiased=False).detach().numpy() == pytest.approx(np.ones(4))


def test_whitening_makes_pixels_uncorrelated() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 12)) + 3
    parts = torch.from_numpy(data).view(4, 100, 3, 2, 2)
    whitening, mean = zca(parts, ridge=0.0)
    white = (data - mean.numpy()) @ whitening.numpy()
    assert np.cov(white.T, bias=True) == pytest.approx(np.eye(12), abs=1e-3)
    assert whitening.numpy() == pytest.approx(whitening.numpy().T, abs=1e-5)  # ZCA: the nearest to the pixels


@pytest.mark.parametrize("name", ["triple", "ugan", "entmin"])
def test_consistency_compares_two_draws(
    name: str, tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]
) -> None:
    kind = registry.get(name)
    recipe = kind.recipe_type(
        network="mlp", steps=100, consistency_weight=8.0, consistency_ramp=0.5, consistency_of="logits"
    )
    variant = kind(tiny_task, recipe)
    a, b = (torch.from_numpy(np.random.default_rng(s).normal(size=(4, 3))) for s in (0, 1))
    assert variant.consistency(a, b).item() == pytest.approx(((a - b).numpy() ** 2).mean())
    for progress, expected in ((0.0, 8 * np.exp(-5)), (0.25, 8 * np.exp(-5 * 0.25)), (0.5, 8.0), (0.9, 8.0)):
        assert variant.consistency_now(torch.tensor(progress)).item() == pytest.approx(expected, rel=1e-5)
    other = kind(tiny_task, recipe.model_copy(update={"consistency_of": "probabilities"}))
    p, q = (np.exp(x.numpy()) / np.exp(x.numpy()).sum(1, keepdims=True) for x in (a, b))
    assert other.consistency(a, b).item() == pytest.approx(((p - q) ** 2).mean())


def test_beta1_falls_after_a_quarter(mnist_task: Callable[[int], Task]) -> None:
    kind = registry.get("triple")
    recipe = kind.recipe_for("paper", "cifar10", "colour")
    beta1 = kind(Task((3, 32, 32), 10, (-1.0, 1.0), 4000, 46_000), recipe).beta1()
    assert beta1 is not None
    r = np.exp(-((0.5 * 10) ** 2) / 50)  # ten epochs after number 250 of 1000
    assert [beta1(t) for t in (0.0, 0.25, 0.26, 1.0)] == pytest.approx([0.9, 0.9, 0.9 * r + 0.5 * (1 - r), 0.5])
