"""Layers against NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from variants.parts.layers import BatchNorm, Dropout, GaussianNoise, Linear, Stack, WeightNormLinear

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(6, 4), loc=1.0, scale=3.0)
PICTURES = RNG.normal(size=(3, 4, 5, 2), loc=-2.0)


def numpy_batch_norm(x: np.ndarray, axes: tuple[int, ...], eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised values, mean and biased variance."""
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + eps), mean.reshape(-1), var.reshape(-1)


def affine(layer: BatchNorm, gain: np.ndarray | None, shift: np.ndarray) -> None:
    with torch.no_grad():
        layer.shift.copy_(torch.from_numpy(shift))
        if gain is not None:
            layer.gain.copy_(torch.from_numpy(gain))  # type: ignore[union-attr]


# --- linear and weight norm ---


@pytest.mark.parametrize("outputs", [1, 3])
def test_linear_is_a_matrix_product(outputs: int) -> None:
    layer = Linear(4, outputs).double()
    with torch.no_grad():
        layer.bias.copy_(torch.arange(float(outputs)) + 0.5)  # type: ignore[union-attr]
    weight = layer.weight.detach().numpy()
    expected = VECTORS @ weight.T + np.arange(outputs) + 0.5
    assert layer(torch.from_numpy(VECTORS)).detach().numpy() == pytest.approx(expected)


def test_initial_weights() -> None:
    torch.manual_seed(0)
    glorot = np.sqrt(6 / (400 + 300))
    for weight in (Linear(400, 300).weight, WeightNormLinear(400, 300, std=None).direction):
        assert weight.abs().max().item() <= glorot
        assert weight.std().item() == pytest.approx(glorot / np.sqrt(3), rel=0.01)
    assert Linear(400, 300, std=0.01).weight.std().item() == pytest.approx(0.01, rel=0.01)
    layer = WeightNormLinear(400, 300)
    assert layer.direction.std().item() == pytest.approx(0.1, rel=0.01)
    assert layer.bias.abs().max().item() == 0.0
    assert layer.scale.unique().tolist() == [1.0]


def test_weight_norm_equals_numpy_and_its_rows_have_length_g() -> None:
    layer = WeightNormLinear(4, 3).double()
    scale, bias = np.array([2.0, 0.5, -1.0]), np.array([0.1, -0.2, 0.3])
    with torch.no_grad():
        layer.scale.copy_(torch.from_numpy(scale))
        layer.bias.copy_(torch.from_numpy(bias))
    v = layer.direction.detach().numpy()
    weight = scale[:, None] * v / np.sqrt((v**2).sum(1) + 1e-6)[:, None]
    assert layer(torch.from_numpy(VECTORS)).detach().numpy() == pytest.approx(VECTORS @ weight.T + bias)
    effective = (layer(torch.eye(4, dtype=torch.float64)) - layer.bias).detach().numpy().T
    assert np.linalg.norm(effective, axis=1) == pytest.approx(np.abs(scale), rel=1e-4)


def test_only_a_trained_scale_is_a_parameter() -> None:
    fixed, trained = WeightNormLinear(4, 3), WeightNormLinear(4, 3, train_scale=True)
    assert [name for name, _ in fixed.named_parameters()] == ["direction", "bias"]
    assert [name for name, _ in fixed.named_buffers()] == ["scale"]
    assert {name for name, _ in trained.named_parameters()} == {"direction", "bias", "scale"}


@pytest.mark.parametrize("target", [1.0, 0.1])
def test_calibration_gives_mean_0_and_the_wanted_deviation(target: float) -> None:
    layer = WeightNormLinear(4, 3, target_std=target).double()
    with torch.no_grad():
        layer.bias.fill_(5.0)  # whatever it was before
    x = torch.from_numpy(VECTORS)
    v = layer.direction.detach().numpy()
    a = VECTORS @ (v / np.sqrt((v**2).sum(1) + 1e-6)[:, None]).T
    layer.calibrate(x)
    y = layer(x).detach().numpy()
    assert y.mean(0) == pytest.approx(0, abs=1e-12)
    assert y.std(0) == pytest.approx(target)
    assert layer.scale.numpy() == pytest.approx(target / a.std(0))
    assert layer.bias.detach().numpy() == pytest.approx(-target * a.mean(0) / a.std(0))


def test_calibration_of_constant_input_stays_finite() -> None:
    layer = WeightNormLinear(4, 3)
    layer.calibrate(torch.ones(5, 4))
    assert torch.isfinite(layer.scale).all()
    assert torch.isfinite(layer.bias).all()


def test_stack_is_calibrated_layer_by_layer_with_the_noise_on(recorded_noise: Callable[..., Any]) -> None:
    """The second layer sees the first one's calibrated output, and the noise is drawn once for both purposes."""
    stack = Stack(GaussianNoise(0.5), WeightNormLinear(4, 8), nn.ReLU(), WeightNormLinear(8, 3)).double()
    x, noise = torch.from_numpy(VECTORS), recorded_noise()
    out = stack.calibrate(x, noise).numpy()
    assert out.mean(0) == pytest.approx(0, abs=1e-12)
    assert out.std(0) == pytest.approx(1)
    hidden = stack.layers[1](x + 0.5 * torch.from_numpy(noise.read[0])).detach().numpy()
    assert hidden.std(0) == pytest.approx(1)
    assert len(noise.read) == 1


# --- batch norm ---


@pytest.mark.parametrize(("x", "axes"), [(VECTORS, (0,)), (PICTURES, (0, 2, 3))])
@pytest.mark.parametrize("eps", [1e-6, 1e-4, 1e-1])
def test_batch_norm_in_training_uses_the_batch(
    x: np.ndarray, axes: tuple[int, ...], eps: float, recorded_noise: Callable[..., Any]
) -> None:
    layer = BatchNorm(4, eps=eps).double()
    gain, shift = np.array([1.0, 2.0, -1.0, 0.5]), np.array([0.0, 1.0, 2.0, 3.0])
    affine(layer, gain, shift)
    shape = (1, 4) + (1,) * (x.ndim - 2)
    expected = numpy_batch_norm(x, axes, eps)[0] * gain.reshape(shape) + shift.reshape(shape)
    assert layer(torch.from_numpy(x), recorded_noise()).detach().numpy() == pytest.approx(expected)
    assert layer.running_mean.tolist() == [0] * 4  # moved by update=True only
    assert layer.running_var.tolist() == [1] * 4


def test_running_statistics_move_by_a_tenth_and_serve_evaluation(recorded_noise: Callable[..., Any]) -> None:
    layer, noise = BatchNorm(4, eps=1e-4).double(), recorded_noise()
    mean, var = np.zeros(4), np.ones(4)
    for factor in (1.0, 2.0):
        x = factor * PICTURES
        layer(torch.from_numpy(x), noise, update=True)
        _, batch_mean, batch_var = numpy_batch_norm(x, (0, 2, 3), 1e-4)
        mean, var = 0.9 * mean + 0.1 * batch_mean, 0.9 * var + 0.1 * batch_var
    assert layer.running_mean.numpy() == pytest.approx(mean)
    assert layer.running_var.numpy() == pytest.approx(var)
    shaped = (PICTURES - mean.reshape(1, 4, 1, 1)) / np.sqrt(var + 1e-4).reshape(1, 4, 1, 1)
    assert layer(torch.from_numpy(PICTURES)).detach().numpy() == pytest.approx(shaped)
    one = layer(torch.from_numpy(PICTURES[:1])).detach().numpy()
    assert one == pytest.approx(shaped[:1])  # an image's class does not depend on its neighbours


def test_evaluation_never_updates() -> None:
    layer = BatchNorm(4)
    layer(torch.from_numpy(VECTORS).float(), None, update=True)
    assert layer.running_mean.tolist() == [0] * 4


def test_batch_norm_without_running_statistics_always_uses_the_batch() -> None:
    layer = BatchNorm(4, gain=False, running=False, eps=1e-6).double()
    assert [name for name, _ in layer.named_parameters()] == ["shift"]
    assert not list(layer.buffers())
    expected = numpy_batch_norm(VECTORS, (0,), 1e-6)[0]
    assert layer(torch.from_numpy(VECTORS)).detach().numpy() == pytest.approx(expected)


def test_running_statistics_carry_no_gradient(recorded_noise: Callable[..., Any]) -> None:
    layer = BatchNorm(4).double()
    layer(torch.from_numpy(VECTORS).requires_grad_(), recorded_noise(), update=True)
    assert not layer.running_mean.requires_grad
    assert not layer.running_var.requires_grad


# --- noise and dropout ---


def test_gaussian_noise_is_added_in_training_only(recorded_noise: Callable[..., Any]) -> None:
    layer, x, noise = GaussianNoise(0.3), torch.from_numpy(VECTORS), recorded_noise()
    assert layer(x, None) is x
    assert layer(x, noise).numpy() == pytest.approx(VECTORS + 0.3 * noise.read[0])
    assert GaussianNoise(0.0)(x, noise) is x


def test_dropout_is_inverted_and_on_in_training_only(recorded_noise: Callable[..., Any]) -> None:
    layer, x, noise = Dropout(0.25), torch.ones(100, 50, dtype=torch.float64), recorded_noise()
    assert layer(x, None) is x
    y = layer(x, noise).numpy()
    assert np.array_equal(y, np.where(noise.read[0] >= 0.25, 1 / 0.75, 0.0))
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert y.mean() == pytest.approx(1, abs=0.03)
    assert Dropout(0.0)(x, noise) is x
