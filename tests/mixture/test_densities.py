"""Quantities by name, against their definitions and SciPy's own densities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from brainseg.mixture import (
    effective_counts,
    expand_covariances,
    log_gaussian,
    log_joint,
    log_likelihood,
    maximise,
    responsibilities,
)

RNG = np.random.default_rng(0)


def random_mixture(k: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(k, d, d))
    return (
        rng.dirichlet(np.ones(k)),
        3 * rng.normal(size=(k, d)),
        a @ a.transpose(0, 2, 1) + 0.1 * np.eye(d),
    )


@pytest.mark.parametrize("d", [1, 2, 5])
def test_log_gaussian_is_scipys(d: int) -> None:
    _, means, covariances = random_mixture(3, d, d)
    x = RNG.normal(size=(40, d))
    expected = np.stack(
        [multivariate_normal(m, c).logpdf(x) for m, c in zip(means, covariances, strict=True)], 1
    )
    np.testing.assert_allclose(log_gaussian(x, means, covariances), expected, rtol=1e-9)


def test_marginal_density_sums_the_joint_and_responsibilities_are_bayes() -> None:
    weights, means, covariances = random_mixture(4, 2, 1)
    x = RNG.normal(size=(50, 2))
    joint = log_joint(log_gaussian(x, means, covariances), np.log(weights))
    resp, log_prob = responsibilities(joint)
    np.testing.assert_allclose(log_prob, logsumexp(joint, axis=1), rtol=1e-12)
    np.testing.assert_allclose(resp, np.exp(joint) / np.exp(joint).sum(1, keepdims=True), rtol=1e-9)
    w = RNG.random(50)
    np.testing.assert_allclose(log_likelihood(log_prob, w), w @ log_prob, rtol=1e-12)
    np.testing.assert_allclose(effective_counts(resp, w).sum(), w.sum(), rtol=1e-12)


def test_weights_may_differ_from_sample_to_sample() -> None:
    _, means, covariances = random_mixture(3, 1, 2)
    x = RNG.normal(size=(20, 1))
    pi = RNG.dirichlet(np.ones(3), size=20)
    density = log_gaussian(x, means, covariances)
    each = [responsibilities(log_joint(density[[n]], np.log(pi[n])))[0][0] for n in range(20)]
    together, _ = responsibilities(log_joint(density, np.log(pi)))
    np.testing.assert_allclose(together, each, rtol=1e-12)


@given(
    st.lists(st.floats(-1e5, 1e5), min_size=2, max_size=6),
    st.floats(-1e8, 1e8),
)
def test_softmax_is_stable_and_ignores_a_shift(row: list[float], shift: float) -> None:
    plain, _ = responsibilities(np.array([row]))
    assert np.isfinite(plain).all()
    np.testing.assert_allclose(plain.sum(), 1, rtol=1e-12)
    moved, _ = responsibilities(np.array([row]) + shift)
    # The shift itself rounds the differences, by up to 1e8 * 2.2e-16.
    np.testing.assert_allclose(moved, plain, atol=1e-6)


def test_excluded_components_get_nothing() -> None:
    resp, log_prob = responsibilities(np.array([[-np.inf, -3.0], [-900.0, -np.inf]]))
    np.testing.assert_array_equal(resp, [[0, 1], [1, 0]])
    np.testing.assert_allclose(log_prob, [-3, -900])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["full", "tied", "diag", "spherical"]), st.integers(0, 10**6))
def test_m_step_with_hard_labels_is_the_sample_moments(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 2)) * [1, 3]
    z = np.arange(60) % 3
    weights, means, covariances = maximise(x, np.eye(3)[z], covariance_type=kind)
    np.testing.assert_allclose(weights, 1 / 3)
    each = np.stack([np.cov(x[z == k].T, bias=True) for k in range(3)])
    np.testing.assert_allclose(means, [x[z == k].mean(0) for k in range(3)], atol=1e-12)
    expected = {
        "full": each,
        "tied": np.repeat(each.mean(0)[None], 3, 0),
        "diag": each * np.eye(2),
        "spherical": np.trace(each, axis1=1, axis2=2)[:, None, None] / 2 * np.eye(2),
    }[kind]
    np.testing.assert_allclose(covariances, expected, atol=1e-12)


def test_m_step_at_a_large_offset_keeps_its_digits() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(500, 2))
    resp = rng.dirichlet(np.ones(2), size=500)
    near, far = maximise(x, resp), maximise(x + 1e6, resp)
    # Adding 1e6 rounds the data to 1e-10; nothing more may be lost.
    np.testing.assert_allclose(far[2], near[2], atol=1e-9)


def test_covariance_types_expand_to_full_matrices() -> None:
    np.testing.assert_array_equal(
        expand_covariances([2.0, 3.0], "spherical", 2, 2)[1], 3 * np.eye(2)
    )
    np.testing.assert_array_equal(
        expand_covariances([[1.0, 2.0]], "diag", 1, 2)[0], np.diag([1, 2])
    )
    with pytest.raises(ValueError, match="shape"):
        expand_covariances(np.eye(2), "full", 2, 2)
