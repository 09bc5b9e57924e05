"""The papers' networks: shapes, parameter counts and which scales are trained, against the papers' tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.variant import Examples, Noise, Task, Variant
from variants.fm import FM
from variants.option1 import OptionI
from variants.option2 import OptionII
from variants.parts.layers import Dropout, GaussianNoise, WeightNormLinear
from variants.parts.networks.mlp import ToImage, generator, noisy_classifier
from variants.parts.networks.triple import PairDiscriminator, conv_classifier
from variants.supervised import Supervised
from variants.triple import Triple

MnistTask = Callable[[int], Task]
HIDDEN = [1000, 500, 250, 250, 250]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def paper(kind: type[Variant], task: Task) -> Any:
    return kind(task, kind.recipe_for("paper", "mnist", task.shape_class))


def linears(module: nn.Module) -> list[WeightNormLinear]:
    return [m for m in module.modules() if isinstance(m, WeightNormLinear)]


# --- FM-GAN and what shares its networks ---


@pytest.mark.parametrize(
    ("kind", "name", "outputs"),
    [(FM, "discriminator", 10), (OptionII, "discriminator", 10), (OptionI, "discriminator", 11),
     (Supervised, "classifier", 10)],
)  # fmt: skip
def test_noisy_classifier_of_the_paper(kind: type[Variant], name: str, outputs: int, mnist_task: MnistTask) -> None:
    """784-1000-500-250-250-250-K: weights and biases everywhere, a trained scale at the output only."""
    net = paper(kind, mnist_task(100)).networks()[name]()
    sizes = [784, *HIDDEN, outputs]
    assert [(m.direction.shape[1], m.direction.shape[0]) for m in linears(net)] == list(itertools.pairwise(sizes))
    weights = 784 * 1000 + 1000 * 500 + 500 * 250 + 250 * 250 + 250 * 250 + 250 * outputs
    assert count(net) == weights + sum(HIDDEN) + outputs + outputs
    assert [isinstance(m.scale, nn.Parameter) for m in linears(net)] == [False] * 5 + [True]
    assert [m.sigma for m in net.modules() if isinstance(m, GaussianNoise)] == [0.3] + [0.5] * 5
    assert sum(isinstance(m, nn.ReLU) for m in net.modules()) == 5
    images = torch.rand(3, 1, 28, 28)
    assert net(images).shape == (3, outputs)


def test_fm_features_are_the_last_hidden_layer_after_its_relu(
    tiny_task: Task, recorded_noise: Callable[..., Any]
) -> None:
    net = noisy_classifier(tiny_task, (5, 4), 3, input_noise=0.3, hidden_noise=0.5).double()
    images, noise = torch.rand(7, 1, 2, 3, dtype=torch.float64), recorded_noise()
    features = net(images, noise, features=1).detach().numpy()
    assert [piece.shape for piece in noise.read] == [(7, 6), (7, 5)]  # none after the last hidden layer
    x = images.flatten(1).numpy() + 0.3 * noise.read[0]
    for layer, after in zip(linears(net)[:2], (noise.read[1], None), strict=True):
        v = layer.direction.detach().numpy()
        x = np.maximum(x @ (v / np.sqrt((v**2).sum(1) + 1e-6)[:, None]).T, 0)
        x = x if after is None else x + 0.5 * after
    assert features == pytest.approx(x)
    assert features.min() == 0.0


def test_fm_generator_of_the_paper(mnist_task: MnistTask) -> None:
    """100-500-500-784: no bias and a shift-only batch norm in the hidden layers, trained output scale."""
    net = paper(FM, mnist_task(100)).networks()["generator"]()
    assert count(net) == 100 * 500 + 500 + 500 * 500 + 500 + 500 * 784 + 784 + 784
    (out,) = linears(net)
    assert isinstance(out.scale, nn.Parameter)
    assert not list(net.buffers())  # no running statistics
    assert out.direction.abs().max().item() <= np.sqrt(6 / (500 + 784))  # Glorot-uniform, not N(0, 0.1^2)
    images = net(torch.rand(4, 100))
    assert images.shape == (4, 1, 28, 28)
    assert images.min().item() > 0
    assert images.max().item() < 1


def test_fm_generator_equals_numpy(tiny_task: Task) -> None:
    net = generator(tiny_task, (5, 4)).double()
    z = np.random.default_rng(0).random((8, 100))
    x = z
    parameters = {name: value.detach().numpy() for name, value in net.named_parameters()}
    for linear, norm in (("layers.0", "layers.1"), ("layers.3", "layers.4")):
        x = x @ parameters[f"{linear}.weight"].T
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-6) + parameters[f"{norm}.shift"]
        x = np.logaddexp(0, x)
    v = parameters["layers.6.direction"]
    x = x @ (v * (parameters["layers.6.scale"] / np.sqrt((v**2).sum(1) + 1e-6))[:, None]).T
    x = 1 / (1 + np.exp(-(x + parameters["layers.6.bias"])))
    assert net(torch.from_numpy(z)).detach().numpy() == pytest.approx(x.reshape(8, 1, 2, 3))


@pytest.mark.parametrize(
    ("limits", "at_zero", "at_large"),
    [((0.0, 1.0), 0.5, 1.0), ((-1.0, 1.0), 0.0, 1.0), ((2.0, 6.0), 4.0, 6.0), (None, 0.0, 100.0)],
)
def test_images_end_in_the_range_of_the_data(
    limits: tuple[float, float] | None, at_zero: float, at_large: float
) -> None:
    task = Task((2, 1, 1), 2, limits, 2, 2)
    image = ToImage(task)(torch.tensor([[0.0, 100.0]]))
    assert image.shape == (1, 2, 1, 1)
    assert image.flatten().tolist() == pytest.approx([at_zero, at_large])


@pytest.mark.parametrize(
    ("kind", "name"), [(FM, "discriminator"), (OptionI, "discriminator"), (Supervised, "classifier")]
)
def test_initialisation_standardises_every_layer(
    kind: type[Variant], name: str, mnist_task: MnistTask, recorded_noise: Callable[..., Any]
) -> None:
    """With the noise of the initialisation every pre-activation, logits included, has mean 0 and deviation 1."""
    variant = paper(kind, mnist_task(100))
    torch.manual_seed(0)
    net = variant.networks()[name]().double()
    draw = variant.initial_draws()
    assert [(d.size, d.pool) for d in draw.values()] == [(500, "labelled" if kind is Supervised else "all")]
    images = torch.rand(50, 1, 28, 28, dtype=torch.float64)
    batch = {"labelled": Examples(images, torch.zeros(50, dtype=torch.int64)), "images": images}
    noise = recorded_noise(length=500_000)
    variant.initialise(SimpleNamespace(**{name: net}), batch, noise.fork())
    seen: list[torch.Tensor] = []
    for layer in linears(net):
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    net(images, noise)
    assert len(seen) == 6
    for pre in seen:
        assert pre.mean(0).numpy() == pytest.approx(0, abs=1e-9)
        assert pre.std(0, unbiased=False).numpy() == pytest.approx(1, abs=1e-6)


# --- Triple-GAN ---


def test_triple_classifier_of_the_paper(mnist_task: MnistTask) -> None:
    net = paper(Triple, mnist_task(100)).networks()["classifier"]()
    assert count(net) == 279_402
    shapes = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | Dropout):
            module.register_forward_hook(lambda m, i, o: shapes.append((type(m).__name__, tuple(o.shape[1:]))))
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert shapes == [
        ("Conv2d", (32, 24, 24)), ("Dropout", (32, 12, 12)), ("Conv2d", (64, 12, 12)), ("Conv2d", (64, 10, 10)),
        ("Dropout", (64, 5, 5)), ("Conv2d", (128, 5, 5)), ("Conv2d", (128, 5, 5)),
    ]  # fmt: skip
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.bias is None for m in convolutions)
    assert torch.cat([m.weight.flatten() for m in convolutions]).std().item() == pytest.approx(0.05, rel=0.02)
    assert [m.rate for m in net.modules() if isinstance(m, Dropout)] == [0.5, 0.5]
    assert not any(isinstance(m, GaussianNoise) for m in net.modules())
    head = dict(net.named_parameters())["head.layers.0.weight"]
    assert head.std().item() == pytest.approx(0.01, rel=0.1)


def test_convolutional_classifier_takes_smaller_and_larger_images() -> None:
    for shape in [(1, 8, 8), (3, 32, 32), (1, 40, 40)]:
        assert conv_classifier(Task(shape, 4, (0.0, 1.0), 4, 10))(torch.rand(2, *shape)).shape == (2, 4)


def test_triple_generator_of_the_paper(mnist_task: MnistTask) -> None:
    """[100+10]-500-[+10]-500-[+10]-784: batch norm with gain and shift, trained output scale; 0.713 M parameters."""
    net = paper(Triple, mnist_task(100)).networks()["generator"]()
    assert count(net) == 110 * 500 + 2 * 500 + 510 * 500 + 2 * 500 + 510 * 784 + 784 + 784
    assert count(net) == pytest.approx(0.713e6, rel=1e-3)
    assert not list(net.buffers())
    assert [m.eps for m in net.norms] == [1e-4, 1e-4]
    images = net(torch.rand(3, 100), torch.eye(10)[:3])
    assert images.shape == (3, 1, 28, 28)


def test_triple_generator_equals_numpy(tiny_task: Task) -> None:
    net = Triple(tiny_task, Triple.recipe_type(generator=(5, 4), steps=1)).networks()["generator"]().double()
    rng = np.random.default_rng(0)
    z, y = rng.random((6, 100)), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    p = {name: value.detach().numpy() for name, value in net.named_parameters()}
    x = z
    for i in range(2):
        x = np.concatenate([x, y], 1) @ p[f"linears.{i}.weight"].T
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-4) * p[f"norms.{i}.gain"] + p[f"norms.{i}.shift"]
        x = np.logaddexp(0, x)
    v = p["out.direction"]
    weight = v * (p["out.scale"] / np.sqrt((v**2).sum(1) + 1e-6))[:, None]
    x = 1 / (1 + np.exp(-(np.concatenate([x, y], 1) @ weight.T + p["out.bias"])))
    out = net(torch.from_numpy(z), torch.from_numpy(y)).detach().numpy()
    assert out == pytest.approx(x.reshape(6, 1, 2, 3))


def test_triple_discriminator_of_the_paper(mnist_task: MnistTask) -> None:
    """Input widths 794, 1020, 510, 260, 260, 260; every scale fixed at 1; 1.564 M parameters."""
    net = paper(Triple, mnist_task(100)).networks()["discriminator"]()
    layers = linears(net)
    assert [m.direction.shape[1] for m in layers] == [794, 1020, 510, 260, 260, 260]
    assert [m.direction.shape[0] for m in layers] == [*HIDDEN, 1]
    expected = 794 * 1000 + 1020 * 500 + 510 * 250 + 260 * 250 + 260 * 250 + 260 + sum(HIDDEN) + 1
    assert count(net) == expected
    assert expected == pytest.approx(1.564e6, rel=1e-3)
    assert all(not isinstance(m.scale, nn.Parameter) and set(m.scale.tolist()) == {1.0} for m in layers)
    assert (net.input_noise, net.hidden_noise) == (0.3, 0.5)
    assert net(torch.rand(3, 1, 28, 28), torch.eye(10)[:3]).shape == (3,)


def test_pair_discriminator_equals_numpy(recorded_noise: Callable[..., Any]) -> None:
    """y stands behind the noise everywhere; after the first hidden layer once more before it."""
    task = Task((1, 2, 2), 3, (0.0, 1.0), 3, 9)
    net, noise = PairDiscriminator(task, (5, 4), 0.3, 0.5).double(), recorded_noise()
    rng = np.random.default_rng(0)
    x, y = rng.random((6, 1, 2, 2)), np.eye(3)[[2, 1, 0, 0, 1, 2]]
    logits = net(torch.from_numpy(x), torch.from_numpy(y), noise).detach().numpy()
    assert [piece.shape for piece in noise.read] == [(6, 4), (6, 5 + 3), (6, 4)]

    def layer(index: int, value: np.ndarray) -> np.ndarray:
        module = net.layers[index]
        v = module.direction.detach().numpy()
        return value @ (v / np.sqrt((v**2).sum(1) + 1e-6)[:, None]).T + module.bias.detach().numpy()

    n1, n2, n3 = noise.read
    h = layer(0, np.concatenate([x.reshape(6, 4) + 0.3 * n1, y], 1))
    h = layer(1, np.concatenate([np.concatenate([np.maximum(h, 0), y], 1) + 0.5 * n2, y], 1))
    h = layer(2, np.concatenate([np.maximum(h, 0) + 0.5 * n3, y], 1))
    assert logits == pytest.approx(h[:, 0])


@pytest.mark.parametrize("kind", [FM, OptionI, OptionII, Supervised, Triple])
@pytest.mark.parametrize(
    ("shape", "classes", "limits"),
    [((1, 8, 8), 10, (0.0, 1.0)), ((2,), 2, None), ((3, 32, 32), 10, (-1.0, 1.0))],
)
def test_common_networks_fit_any_data(
    kind: type[Variant], shape: tuple[int, ...], classes: int, limits: tuple[float, float] | None
) -> None:
    task = Task(shape, classes, limits, 20, 500)
    variant = kind(task, kind.recipe_for("common", "anything", task.shape_class))
    nets = SimpleNamespace(**{name: make() for name, make in variant.networks().items()})
    assert variant.classify(nets, torch.rand(3, *shape)).shape == (3, classes)
    labels = torch.arange(classes)
    noise = Noise(torch.randn(10_000), torch.rand(10_000))
    images = variant.generate(nets, noise, labels)
    if kind is Supervised:
        assert images is None
    else:
        assert images.shape == (classes, *shape)


def test_evaluation_draws_no_noise_and_is_deterministic(mnist_task: MnistTask) -> None:
    for kind, name in [(FM, "discriminator"), (Triple, "classifier"), (Supervised, "classifier")]:
        variant = paper(kind, mnist_task(100))
        nets = SimpleNamespace(**{name: variant.networks()[name]()})
        images = torch.rand(2, 1, 28, 28)
        assert torch.equal(variant.classify(nets, images), variant.classify(nets, images))


def test_option1_classifies_among_the_real_classes_only(tiny_task: Task) -> None:
    variant = OptionI(tiny_task, OptionI.recipe_type(steps=1))
    logits = torch.tensor([[1.0, 2.0, 0.0, 9.0]])
    assert variant.classify(SimpleNamespace(discriminator=lambda images: logits), None).tolist() == [[1.0, 2.0, 0.0]]
