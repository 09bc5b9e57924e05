"""The techniques of Salimans et al. (arXiv:1606.03498, section 3) against NumPy; a switch does its own and no more."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from bench.variant import Examples, Task
from variants.fm import FM, FMRecipe
from variants.option2 import OptionII
from variants.parts.losses import feature_matching_sum, pull_away, real_loss
from variants.parts.networks.mlp import Minibatch, Norm, generator, noisy_classifier
from variants.parts.recipes import AdversarialRecipe
from variants.parts.techniques import MinibatchDiscrimination, Referenced, VirtualBatchNorm
from variants.vanilla import Vanilla, VanillaRecipe

BATCH = 4
SMALL: dict[str, Any] = {"batch": BATCH, "initial_batch": 6, "classifier": (6, 5), "generator": (5,), "steps": 1}
PROGRESS = torch.zeros(())
RNG = np.random.default_rng(3)


def tensor(*shape: int) -> Tensor:
    return torch.from_numpy(RNG.normal(size=shape))


def batch(task: Task) -> dict[str, Any]:
    images = torch.from_numpy(RNG.random((3, BATCH, *task.image_shape)))
    return {
        "labelled": Examples(images[0], torch.tensor([0, 1, 2, 0])),
        "unlabelled": images[1],
        "unlabelled_generator": images[2],
    }


# --- one-sided label smoothing ---


def test_smoothing_is_the_cross_entropy_with_a_softer_target() -> None:
    s = RNG.normal(size=7)
    d = 1 / (1 + np.exp(-s))
    expected = -(0.9 * np.log(d) + 0.1 * np.log(1 - d)).mean()
    assert real_loss(torch.from_numpy(s), 0.1).item() == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "recipe"), [(FM, FMRecipe), (OptionII, AdversarialRecipe), (Vanilla, VanillaRecipe)])
def test_smoothing_moves_the_real_side_alone(
    kind: Any, recipe: Any, tiny_task: Task, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    logs, data = [], batch(tiny_task)
    for smoothing in (0.0, 0.2):
        variant = kind(tiny_task, recipe(**SMALL, smoothing=smoothing))
        logs.append(variant.discriminator_loss(build_nets(variant), data, recorded_noise(), {}, PROGRESS)[1])
    assert logs[0]["real"] != logs[1]["real"]
    assert {k: v for k, v in logs[0].items() if k != "real"} == {k: v for k, v in logs[1].items() if k != "real"}


# --- the generator's terms ---


def test_terms_of_the_generator_add_up(tiny_task: Task, fake: Any, recorded_noise: Callable[..., Any]) -> None:
    real, features, logits = tensor(BATCH, 6), tensor(BATCH, 6), tensor(BATCH, 3)
    nets = SimpleNamespace(discriminator=fake(real, features, logits), generator=fake(torch.zeros(4, 1, 2, 3)))
    recipe = AdversarialRecipe(**SMALL, matching_weight=0.7, adversarial_weight=0.4, pull_away_weight=0.3)
    data = batch(tiny_task)
    loss, logs = OptionII(tiny_task, recipe).generator_loss(nets, data, recorded_noise(), {}, PROGRESS)
    f, g, z = real.numpy(), features.numpy(), np.exp(logits.numpy()).sum(1)
    matching = ((f.mean(0) - g.mean(0)) ** 2).mean()
    adversarial = -np.log(z / (1 + z)).mean()
    cosine = (g @ g.T) / np.outer(np.linalg.norm(g, axis=1), np.linalg.norm(g, axis=1))
    away = (cosine[~np.eye(BATCH, dtype=bool)] ** 2).mean()
    assert loss.item() == pytest.approx(0.7 * matching + 0.5 * 0.4 * adversarial + 0.3 * away)
    assert {name: value.item() for name, value in logs.items()} == pytest.approx(
        {"matching": matching, "adversarial": adversarial, "pull_away": away}
    )


def test_squared_norm_is_the_sum_over_features() -> None:
    f, g = RNG.normal(size=(5, 6)), RNG.normal(size=(4, 6))
    expected = np.linalg.norm(f.mean(0) - g.mean(0)) ** 2
    assert feature_matching_sum(torch.from_numpy(f), torch.from_numpy(g)).item() == pytest.approx(expected)


def test_pull_away_takes_maps_as_vectors() -> None:
    maps = tensor(5, 2, 3, 3)
    assert pull_away(maps).item() == pytest.approx(pull_away(maps.flatten(1)).item())


def test_feature_layer_counts_from_the_last(tiny_task: Task, recorded_noise: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    net = noisy_classifier(tiny_task, (6, 5), 3, input_noise=0.3, hidden_noise=0.5).double()
    images = torch.from_numpy(RNG.random((BATCH, *tiny_task.image_shape)))
    for layer, width in ((1, 5), (2, 6)):
        noise = recorded_noise()
        hidden = net(images, noise, features=layer)
        assert hidden.shape == (BATCH, width)
        assert torch.equal(net(hidden, noise, from_features=layer), net(images, recorded_noise()))


def test_feature_layer_is_where_matching_happens(tiny_task: Task, fake: Any, recorded_noise: Any) -> None:
    network = fake(tensor(BATCH, 6), tensor(BATCH, 6))
    nets = SimpleNamespace(discriminator=network, generator=fake(torch.zeros(4, 1, 2, 3)))
    FM(tiny_task, FMRecipe(**SMALL, feature_layer=2)).generator_loss(
        nets, batch(tiny_task), recorded_noise(), {}, PROGRESS
    )
    assert [options["features"] for options in network.options] == [2, 2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"adversarial_weight": 0.0}, "learns nothing"), ({"feature_layer": 3, "classifier": (6, 5)}, "2 hidden layers")],
)
def test_impossible_terms_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AdversarialRecipe(**fields)


# --- minibatch discrimination ---


def closeness(layer: MinibatchDiscrimination, f: np.ndarray) -> np.ndarray:
    """sum_{j != i} exp(-|M_ib - M_jb|_1), `[batch, kernels]`, entry by entry."""
    v = layer.direction.detach().numpy()
    t = v / np.sqrt((v**2).sum(1, keepdims=True) + 1e-6) * np.exp(layer.log_scale.detach().numpy()).reshape(-1, 1)
    m = (f @ t.T).reshape(len(f), layer.kernels, layer.dimensions)
    others = [[j for j in range(len(f)) if j != i] for i in range(len(f))]
    return np.array(
        [
            [sum(np.exp(-np.abs(m[i, b] - m[j, b]).sum()) for j in others[i]) for b in range(layer.kernels)]
            for i in range(len(f))
        ]
    )


def test_minibatch_discrimination() -> None:
    torch.manual_seed(1)
    layer, f = MinibatchDiscrimination(6, kernels=3, dimensions=2, batch=5).double(), RNG.normal(size=(5, 6))
    with torch.no_grad():
        layer.log_scale.copy_(tensor(3, 2))
        layer.bias.copy_(tensor(3))
    out = layer(torch.from_numpy(f)).detach().numpy()
    assert out[:, :6] == pytest.approx(f)
    assert out[:, 6:] == pytest.approx(closeness(layer, f) + layer.bias.detach().numpy())


def test_a_batch_of_another_size_is_worth_as_much() -> None:
    torch.manual_seed(1)
    layer, f = MinibatchDiscrimination(6, kernels=3, dimensions=2, batch=9).double(), RNG.normal(size=(5, 6))
    assert layer.closeness(torch.from_numpy(f)).detach().numpy() == pytest.approx(8 / 4 * closeness(layer, f))
    assert torch.isfinite(layer(torch.from_numpy(f[:1]))).all()  # alone: no others


def test_calibration_sets_the_nearest_neighbour_and_the_mean() -> None:
    torch.manual_seed(1)
    layer, f = MinibatchDiscrimination(6, kernels=3, dimensions=2, batch=50).double(), tensor(50, 6)
    layer.calibrate(f)
    distances = layer.distances(f).detach().numpy() + 1e9 * np.eye(50)[:, :, None]
    assert 0.5 * distances.min(1).mean(0) == pytest.approx(np.ones(3))
    assert layer(f)[:, 6:].mean(0).detach().numpy() == pytest.approx(np.zeros(3), abs=1e-9)


def test_batches_are_judged_apart(
    tiny_task: Task, build_nets: Callable[..., Any], recorded_noise: Callable[..., Any]
) -> None:
    """With minibatch discrimination the loss on unlabelled images does not see the labelled ones; test batches fit."""
    variant = FM(tiny_task, FMRecipe(**SMALL, minibatch_kernels=3))
    nets, data, logs = build_nets(variant), batch(tiny_task), []
    for _ in range(2):
        logs.append(variant.discriminator_loss(nets, data, recorded_noise(), {}, PROGRESS)[1])
        data = {**data, "labelled": Examples(data["labelled"].images + 0.5, data["labelled"].labels)}
    assert logs[0]["supervised"] != logs[1]["supervised"]
    assert (logs[0]["real"], logs[0]["fake"]) == (logs[1]["real"], logs[1]["fake"])
    assert variant.evaluation_batch == BATCH
    assert FM(tiny_task, FMRecipe(**SMALL)).evaluation_batch == 500


def test_minibatch_features_enter_the_last_layer_only(tiny_task: Task) -> None:
    shapes = [
        {name: tuple(p.shape) for name, p in net.named_parameters()}
        for net in (
            noisy_classifier(tiny_task, (6, 5), 3, input_noise=0.3, hidden_noise=0.5, minibatch=Minibatch(*numbers))
            for numbers in ((0, 5, 4), (7, 2, 4))
        )
    ]
    plain, with_kernels = shapes
    assert {name: shape for name, shape in with_kernels.items() if name.startswith("body")} == {
        name: shape for name, shape in plain.items() if name.startswith("body")
    }
    assert plain["head.layers.1.direction"] == (3, 5)
    assert with_kernels["head.layers.2.direction"] == (3, 5 + 7)
    assert with_kernels["head.layers.0.direction"] == (14, 5)


# --- virtual batch norm ---


@pytest.mark.parametrize("shape", [(6,), (6, 3, 2)])
def test_virtual_batch_norm(shape: tuple[int, ...]) -> None:
    layer, reference = VirtualBatchNorm(6, 5, gain=True, eps=1e-3).double(), 5
    with torch.no_grad():
        layer.gain.copy_(tensor(6))  # type: ignore[union-attr]
        layer.shift.copy_(tensor(6))
    x = RNG.normal(size=(8, *shape))
    out = layer(torch.from_numpy(x)).detach().numpy().reshape(8, 6, -1)
    gain, shift = layer.gain.detach().numpy(), layer.shift.detach().numpy()  # type: ignore[union-attr]
    maps = x.reshape(8, 6, -1)
    for channel in range(6):
        common = maps[:reference, channel]
        for i in range(8):
            own = maps[i, channel]
            mean, square = common.mean(), (common**2).mean()
            if i >= reference:
                mean, square = (own.mean() + 5 * mean) / 6, ((own**2).mean() + 5 * square) / 6
            expected = gain[channel] * (own - mean) / np.sqrt(square - mean**2 + 1e-3) + shift[channel]
            assert out[i, channel] == pytest.approx(expected)


def test_an_image_does_not_depend_on_its_batch(tiny_task: Task) -> None:
    torch.manual_seed(0)
    net = generator(tiny_task, (5,), Norm(reference=4)).double()
    assert isinstance(net, Referenced)
    z = torch.rand(6, 100, dtype=torch.float64)
    images = net(z)
    assert images.shape == (6, 1, 2, 3)
    assert torch.allclose(net(z[2:3]), images[2:3])
    plain = generator(tiny_task, (5,), Norm()).double()
    assert not torch.allclose(plain(z[:3]), plain(z)[:3])


def test_virtual_batch_norm_draws_its_reference_after_the_weights(tiny_task: Task) -> None:
    nets = []
    for reference in (0, 4):
        torch.manual_seed(0)
        nets.append(generator(tiny_task, (5,), Norm(reference=reference)))
    for name, value in nets[0].named_parameters():
        assert torch.equal(value, dict(nets[1].named_parameters())[name])
    assert dict(nets[1].named_buffers())["reference"].shape == (4, 100)
