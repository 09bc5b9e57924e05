"""The loss terms and heads against closed forms and NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from variants.parts import heads, losses

# multiples of 1/64: two logits are equal or clearly different
LOGITS = arrays(np.int64, (5, 4), elements=st.integers(-1920, 1920)).map(lambda a: a / 64)
SCORES = arrays(np.float64, 7, elements=st.floats(-500, 500))


def t(values: object) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# --- softplus and sigmoid ---


@given(SCORES)
def test_softplus_and_sigmoid_equal_their_closed_forms(x: np.ndarray) -> None:
    assert losses.softplus(t(x)).numpy() == pytest.approx(np.logaddexp(0, x), rel=1e-12, abs=1e-300)
    assert losses.sigmoid(t(x)).numpy() == pytest.approx(np.exp(-np.logaddexp(0, -x)), rel=1e-10, abs=1e-300)


@given(arrays(np.float32, 7, elements=st.floats(-500, 500, width=32)))
def test_the_quick_forms_are_exact_to_single_precision(x: np.ndarray) -> None:
    wide = x.astype(np.float64)
    assert losses.quick_softplus(torch.from_numpy(x)).numpy() == pytest.approx(
        np.logaddexp(0, wide), rel=3e-7, abs=3e-7
    )
    found = losses.quick_sigmoid(torch.from_numpy(x)).numpy()
    assert found == pytest.approx(np.exp(-np.logaddexp(0, -wide)), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("quick", [False, True])
def test_extreme_scores_stay_finite(dtype: torch.dtype, quick: bool) -> None:
    x = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
    softplus, sigmoid = (losses.quick_softplus, losses.quick_sigmoid) if quick else (losses.softplus, losses.sigmoid)
    plus, sigma = softplus(x), sigmoid(x)
    assert plus.tolist() == pytest.approx([0, 0, np.log(2), 100, 1e4], abs=1e-7)
    assert sigma.tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-7)
    plus.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)  # softplus' = sigmoid


def test_softplus_of_an_element_does_not_depend_on_its_neighbours() -> None:
    x = torch.randn(67, generator=torch.Generator().manual_seed(0))
    for function in (losses.softplus, losses.sigmoid, losses.quick_softplus, losses.quick_sigmoid):
        whole = function(x)
        assert all(torch.equal(function(x[i : i + 1]), whole[i : i + 1]) for i in range(len(x)))


# --- real or fake ---


@given(SCORES)
def test_real_and_fake_loss_are_the_two_cross_entropies_of_d(score: np.ndarray) -> None:
    """-log D = log(1 + e^-s) and -log(1 - D) = log(1 + e^s), means over the batch."""
    assert losses.real_loss(t(score)).item() == pytest.approx(np.logaddexp(0, -score).mean(), rel=1e-12, abs=1e-300)
    assert losses.fake_loss(t(score)).item() == pytest.approx(np.logaddexp(0, score).mean(), rel=1e-12, abs=1e-300)


def test_losses_at_known_values_of_d() -> None:
    odds = np.log(0.8 / 0.2)  # D = 0.8
    assert losses.real_loss(t([odds])).item() == pytest.approx(-np.log(0.8))
    assert losses.fake_loss(t([odds])).item() == pytest.approx(-np.log(0.2))
    assert losses.real_loss(t([0.0, odds])).item() == pytest.approx((np.log(2) - np.log(0.8)) / 2)


# --- heads ---


@given(LOGITS)
def test_k_logits_are_k_plus_one_logits_with_a_zero(logits: np.ndarray) -> None:
    """Score, D, both losses, and the classes of the (K+1)-way softmax with the fake logit at 0."""
    extended = np.concatenate([logits, np.zeros((5, 1))], 1)
    p = softmax(extended)
    two, one = heads.k_logits_score(t(logits)), heads.k_plus_one_score(t(extended))
    assert two.numpy() == pytest.approx(one.numpy(), abs=1e-12)
    assert losses.sigmoid(two).numpy() == pytest.approx(1 - p[:, -1], abs=1e-12)
    assert losses.fake_loss(two).item() == pytest.approx(-np.log(p[:, -1]).mean(), rel=1e-9)
    assert losses.real_loss(two).item() == pytest.approx(-np.log(p[:, :-1].sum(1)).mean(), rel=1e-6, abs=1e-12)
    assert np.array_equal(logits.argmax(1), p[:, :-1].argmax(1))


@given(LOGITS, st.floats(-20, 20))
def test_k_plus_one_score_is_the_log_odds_and_ignores_a_common_shift(logits: np.ndarray, shift: float) -> None:
    p = softmax(logits)
    score = heads.k_plus_one_score(t(logits)).numpy()
    assert score == pytest.approx(np.log(p[:, :-1].sum(1)) - np.log(p[:, -1]), rel=1e-6, abs=1e-9)
    assert heads.k_plus_one_score(t(logits + shift)).numpy() == pytest.approx(score, abs=1e-9)


def test_joint_cross_entropy_splits_into_class_given_real_and_real() -> None:
    """-log p_y = CE over the K classes - log(1 - p_{K+1}): the joint label term of K + 1 classes."""
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(6, 4), scale=3), rng.integers(0, 3, 6)
    conditional = -np.log(softmax(logits[:, :3])[np.arange(6), y])
    real = np.logaddexp(0, -heads.k_plus_one_score(t(logits)).numpy())
    joint = torch.nn.functional.cross_entropy(t(logits), torch.as_tensor(y), reduction="none").numpy()
    assert joint == pytest.approx(conditional + real)


# --- the rest ---


def test_feature_matching_is_the_mean_square_of_the_difference_of_means() -> None:
    real, fake = np.array([[0.0, 2.0], [2.0, 4.0]]), np.array([[3.0, 3.0], [5.0, 3.0], [4.0, 0.0]])
    # means (1, 3) and (4, 2): (9 + 1) / 2
    assert losses.feature_matching(t(real), t(fake)).item() == pytest.approx(5.0)
    assert losses.feature_matching(t(real), t(real[::-1].copy())).item() == 0.0


def test_gradient_of_feature_matching() -> None:
    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    leaf = t(fake).requires_grad_()
    losses.feature_matching(t(real), leaf).backward()
    expected = np.tile(2 * (fake.mean(0) - real.mean(0)) / 3 / 5, (5, 1))
    assert leaf.grad is not None
    assert leaf.grad.numpy() == pytest.approx(expected)


@given(LOGITS)
def test_entropy_and_balance_equal_numpy(logits: np.ndarray) -> None:
    p = softmax(logits)
    h = -(p * np.log(np.maximum(p, 1e-300))).sum(1).mean()
    assert losses.entropy(t(logits)).item() == pytest.approx(h, rel=1e-9, abs=1e-12)
    expected = -np.log(np.maximum(p.mean(0), 1e-6)).mean()
    assert losses.balance(t(logits)).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 10])
def test_entropy_and_balance_at_their_limits(classes: int) -> None:
    uniform = torch.full((4, classes), 7.0)
    assert losses.entropy(uniform).item() == pytest.approx(np.log(classes), rel=1e-6)
    assert losses.balance(uniform).item() == pytest.approx(np.log(classes), rel=1e-6)
    each_class_once = 1e4 * torch.eye(classes)
    assert losses.entropy(each_class_once).item() == 0.0
    assert losses.balance(each_class_once).item() == pytest.approx(np.log(classes), rel=1e-6)
    always_class_0 = torch.zeros(3, classes)
    always_class_0[:, 0] = 1e4
    assert losses.balance(always_class_0).item() == pytest.approx(-(classes - 1) * np.log(1e-6) / classes, rel=1e-5)


def test_entropy_pushes_through_both_factors() -> None:
    """dH/dl_j = -p_j (log p_j + H): the true entropy's gradient, nothing held fixed."""
    logits = t([[1.0, -0.5, 0.2]]).requires_grad_()
    losses.entropy(logits).backward()
    p = softmax(logits.detach().numpy())
    h = -(p * np.log(p)).sum()
    assert logits.grad is not None
    assert logits.grad.numpy() == pytest.approx(-p * (np.log(p) + h))


def test_entropy_of_extreme_logits_has_finite_gradients() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], requires_grad=True)
    (losses.entropy(logits) + losses.balance(logits)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_accuracy_is_the_share_of_right_classes() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 3.0], [0.0, 5.0, 1.0], [1.0, 0.0, 0.0]])
    assert losses.accuracy(logits, torch.tensor([0, 2, 0, 1])).item() == 0.5
