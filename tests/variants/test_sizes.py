"""Numbers of trained parameters of the papers' networks, added up layer by layer from the papers' and codes' tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import registry
from bench.variant import SGD, Task
from variants.parts.layers import BatchNorm
from variants.parts.networks.cat import Perforated
from variants.parts.networks.mlp import plain_generator
from variants.parts.networks.triple import NORM, ConditionalGenerator
from variants.parts.networks.ugan import PAIR_NOISE, SLOPE, NoisyPairDiscriminator

RNG = np.random.default_rng(0)
COLOUR = Task((3, 32, 32), 10, (-1.0, 1.0), 1000, 49_000)
MNIST = Task((1, 28, 28), 10, (0.0, 1.0), 100, 59_900)


def sizes(variant: str, recipe: str, task: Task) -> dict[str, int]:
    kind = registry.get(variant)
    networks = kind(task, kind.recipes["paper"][recipe]).networks()
    return {name: sum(p.numel() for p in make().parameters()) for name, make in networks.items()}


def nine_convolutions(c1: int, c2: int, outputs: int) -> int:
    """Kernels and biases; the last layer's scale, too, is trained."""
    kernels = 9 * (3 * c1 + 2 * c1 * c1 + c1 * c2 + 2 * c2 * c2 + c2 * c2) + 2 * c2 * c2
    return kernels + 3 * c1 + 6 * c2 + c2 * outputs + 2 * outputs


def deconvolutions(norm: int) -> int:
    """100 -> 512 x 4 x 4 -> 256 -> 128 -> 3 channels; `norm`: numbers per unit of batch norm."""
    units = 512 * 4 * 4
    kernels = 100 * units + 25 * (512 * 256 + 256 * 128 + 128 * 3)
    return kernels + norm * (units + 256 + 128) + 2 * 3


@pytest.mark.parametrize(("recipe", "c1", "c2"), [("svhn", 64, 128), ("colour", 96, 192)])
def test_fm_on_colour_images(recipe: str, c1: int, c2: int) -> None:
    assert sizes("fm", recipe, COLOUR) == {
        "discriminator": nine_convolutions(c1, c2, 10),
        "generator": deconvolutions(norm=1),  # a shift alone
    }
    assert sizes("option1", recipe, COLOUR)["discriminator"] == nine_convolutions(c1, c2, 11)


def test_bad_on_colour_images() -> None:
    """Batch norm has gains; on CIFAR-10 there is an encoder with the generator's channels."""
    assert sizes("bad", "svhn", COLOUR) == {
        "discriminator": nine_convolutions(64, 128, 10), "generator": deconvolutions(norm=2),
    }  # fmt: skip
    encoder = 25 * (3 * 128 + 128 * 256 + 256 * 512) + 2 * (128 + 256 + 512) + 512 * 4 * 4 * 200 + 2 * 200
    assert sizes("bad", "colour", COLOUR) == {
        "discriminator": nine_convolutions(96, 192, 10), "generator": deconvolutions(norm=2), "encoder": encoder,
    }  # fmt: skip


def test_ugan_on_mnist() -> None:
    channels = [1, 32, 64, 64, 128, 128]
    classifier = sum(9 * i * o + o + 2 * o for i, o in itertools.pairwise(channels)) + 128 * 10 + 10 + 20
    widths = [784, 1000, 500, 250, 250, 250]
    discriminator = sum((i + 10) * o + 2 * o for i, o in zip(widths, [*widths[1:], 1], strict=True))
    generator = 110 * 500 + 510 * 500 + 4 * 500 + 510 * 784 + 2 * 784
    bad = 100 * 500 + 500 * 500 + 4 * 500 + 500 * 784 + 2 * 784
    assert sizes("ugan", "grey", MNIST) == {
        "classifier": classifier, "discriminator": discriminator, "generator": generator, "bad_generator": bad,
    }  # fmt: skip


def test_margingan_on_mnist() -> None:
    lenet = 25 * 20 + 20 + 25 * 20 * 50 + 50 + 800 * 500 + 500 + 500 * 10 + 10
    units = 128 * 7 * 7
    d = 16 * 64 + 64 + 16 * 64 * 128 + 3 * 128 + units * 1024 + 3 * 1024 + 1024 + 1
    g = 62 * 1024 + 3 * 1024 + 1024 * units + 3 * units + 16 * 128 * 64 + 3 * 64 + 16 * 64 + 1
    assert sizes("margin", "grey", MNIST) == {"classifier": lenet, "discriminator": d, "generator": g}
    kind = registry.get("margin")
    variant = kind(MNIST, kind.recipes["paper"]["grey"])
    networks = {name: make() for name, make in variant.networks().items()}
    images = networks["generator"](torch.rand(3, variant.latent))  # type: ignore[attr-defined]
    assert images.shape == (3, 1, 28, 28)
    assert networks["discriminator"](images).shape == (3, 1)
    assert networks["classifier"](images).shape == (3, 10)
    (_, _, classifier) = variant.phases()[0].players
    assert (classifier.lr, classifier.optimiser) == (0.1, SGD(0.5))


def test_catgan_on_mnist_with_convolutions() -> None:
    kind = registry.get("cat")
    fields = {"network": "conv", "classifier": (32, 64), "generator": (96, 64, 64)}
    recipe = kind.recipe_type.model_validate(kind.recipes["paper"]["grey"].model_dump() | fields)
    networks = {name: make() for name, make in kind(MNIST, recipe).networks().items()}
    d = 25 * 32 + 9 * (32 * 64 + 64 * 64 + 64 * 128) + 2 * (32 + 64 + 64 + 128) + 128 * 10 + 10
    units = 96 * 8 * 8
    g = 128 * units + 25 * (96 * 64 + 64 * 64 + 64) + 2 * (units + 64 + 64) + 1
    assert {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()} == {
        "discriminator": d, "generator": g,
    }  # fmt: skip
    images = networks["generator"](torch.rand(3, 128))
    assert images.shape == (3, 1, 28, 28)
    assert networks["discriminator"](images, features=1).shape == (3, 128)
    assert networks["discriminator"](images).shape == (3, 10)


def test_perforated_enlargement_puts_zeros_between_the_values() -> None:
    x = torch.from_numpy(RNG.random((2, 3, 4, 5)))
    expected = np.zeros((2, 3, 8, 10))
    expected[:, :, ::2, ::2] = x.numpy()
    assert np.array_equal(Perforated()(x).numpy(), expected)


def linear(x: np.ndarray, layer: nn.Module) -> np.ndarray:
    v = layer.direction.detach().numpy()  # type: ignore[union-attr, operator]
    scale, bias = layer.scale.detach().numpy(), layer.bias.detach().numpy()  # type: ignore[union-attr, operator]
    return np.asarray(x @ (scale[:, None] * v / np.sqrt((v**2).sum(1, keepdims=True) + 1e-6)).T + bias)


def moved(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in network.double().parameters():
            p.add_(0.3 * torch.from_numpy(RNG.random(p.shape)))
    return network


def test_ugans_discriminator_sees_the_label_at_every_layer(
    tiny_task: Task, recorded_noise: Callable[..., Tensor]
) -> None:
    network = moved(NoisyPairDiscriminator(tiny_task, (5, 4)))
    x, y = RNG.random((7, 6)), np.eye(3)[RNG.integers(3, size=7)]
    noise = recorded_noise()
    images = torch.from_numpy(x).view(7, *tiny_task.image_shape)
    found = network(images, torch.from_numpy(y), noise)
    h = x
    for index, (layer, piece) in enumerate(zip(network.layers, noise.read, strict=True)):  # type: ignore[attr-defined, arg-type]
        h = np.where(h > 0, h, SLOPE * h) if index else h
        h = linear(np.concatenate([h + PAIR_NOISE * piece, y], 1), layer)
    assert found.detach().numpy() == pytest.approx(h[:, 0])


def test_ugans_generator_normalises_after_the_softplus(tiny_task: Task) -> None:
    network = moved(ConditionalGenerator(tiny_task, (5, 4), NORM, norm_last=True))
    z, y = RNG.random((7, 100)), np.eye(3)[RNG.integers(3, size=7)]
    h = z
    for layer, norm in zip(network.linears, network.norms, strict=True):  # type: ignore[arg-type]
        assert isinstance(norm, BatchNorm)
        assert norm.gain is not None
        h = np.logaddexp(0, np.concatenate([h, y], 1) @ layer.weight.detach().numpy().T)
        h = (h - h.mean(0)) / np.sqrt(h.var(0) + norm.eps)
        h = h * norm.gain.detach().numpy() + norm.shift.detach().numpy()
    expected = 1 / (1 + np.exp(-linear(np.concatenate([h, y], 1), network.out)))  # type: ignore[arg-type]
    assert network(torch.from_numpy(z), torch.from_numpy(y)).detach().numpy().reshape(7, -1) == pytest.approx(expected)


def test_a_plain_generator_is_linear_layers_and_relu() -> None:
    network = moved(plain_generator(Task((2,), 2, None, 7, 100), (5, 4), latent=2))
    z = RNG.random((6, 2))
    h = z
    *hidden, last = [m for m in network.modules() if hasattr(m, "weight")]
    for layer in hidden:
        h = np.maximum(h @ layer.weight.detach().numpy().T + layer.bias.detach().numpy(), 0)
    expected = h @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    assert network(torch.from_numpy(z)).detach().numpy() == pytest.approx(expected)
    assert [tuple(m.weight.shape) for m in (*hidden, last)] == [(5, 2), (4, 5), (2, 4)]
