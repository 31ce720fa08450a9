"""Components other than Gaussians: the same EM loop, the same promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg.errors import DataError
from brainseg.mixture import CategoricalMixture, GaussianMixture, RicianMixture, StudentMixture

# Sums of some thousand terms of order 10 in float64.
ROUNDING = 1e-12


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([StudentMixture, RicianMixture, CategoricalMixture]),
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
def test_likelihood_never_falls_whatever_the_family(
    family: Any, seed: int, k: int, weighted: bool, accelerate: bool
) -> None:
    rng = np.random.default_rng(seed)
    if family is CategoricalMixture:
        x = rng.integers(0, 4, size=(80, 3))
    elif family is RicianMixture:
        x = np.hypot(rng.choice([2.0, 9.0], 80) + rng.normal(size=80), rng.normal(size=80))[:, None]
    else:
        x = rng.standard_t(2, size=(80, 2)) * 10.0 ** rng.integers(-3, 4)
    w = rng.random(80) if weighted else None
    mixture = family(k, accelerate=accelerate, max_iter=60, random_state=seed)
    mixture.fit(x, sample_weight=w)
    assert np.diff(mixture.history_).min(initial=0) >= -ROUNDING * (1 + abs(mixture.history_[-1]))
    assert np.isfinite(mixture.predict_proba(x)).all()
    np.testing.assert_allclose(
        mixture.score(x, sample_weight=w), mixture.log_likelihood_, rtol=1e-6
    )


def test_student_finds_the_scale_and_the_tails_that_samples_were_drawn_with() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_t(3, 6000), 20 + 2 * rng.standard_t(3, 6000)])
    student = StudentMixture(2).fit(x)
    assert np.diff(student.history_).min() >= -ROUNDING
    # About three standard errors of 6000 samples.
    np.testing.assert_allclose(student.means_[:, 0], [0, 20], atol=0.1)
    np.testing.assert_allclose(np.sqrt(student.covariances_[:, 0, 0]), [1, 2], rtol=0.07)
    np.testing.assert_allclose(student.dof_, 3, atol=0.5)
    # The variance of t with 3 degrees of freedom is three times its scale squared.
    gaussian = GaussianMixture(2).fit(x)
    assert (np.sqrt(gaussian.covariances_[:, 0, 0]) > [1.3, 2.6]).any()
    assert student.log_likelihood_ > gaussian.log_likelihood_
    drawn, z = student.sample(12000)
    for k, scale in enumerate((1, 2)):
        # 0.765 is the upper quartile of t with 3 degrees of freedom.
        quartiles = np.percentile(drawn[z == k], [25, 50, 75]) - 20 * k
        np.testing.assert_allclose(quartiles, scale * 0.765 * np.array([-1, 0, 1]), atol=0.12)


def test_student_tails_leave_outliers_alone() -> None:
    rng = np.random.default_rng(0)
    clean = np.concatenate([rng.normal(0, 1, 1000), rng.normal(20, 2, 1000)])
    x = np.append(clean, rng.uniform(-200, 200, 60))
    # Quantiles ignore how far away the outliers are; K-means would start on them.
    student = StudentMixture(2, init="quantile").fit(x)
    np.testing.assert_allclose(student.means_[:, 0], [0, 20], atol=0.3)
    assert student.dof_.min() < 2  # one of the two holds all outliers in its tails
    gaussian = GaussianMixture(2, init="quantile").fit(x)
    assert np.abs(gaussian.means_[:, 0] - [0, 20]).max() > 3
    assert student.log_likelihood_ > gaussian.log_likelihood_
    # Degrees of freedom near their bound must not end the climb early.
    plain = StudentMixture(2, init="quantile", accelerate=False).fit(x)
    assert student.log_likelihood_ > plain.log_likelihood_ - 1e-7


def test_student_with_many_degrees_is_a_gaussian() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(m, 1, (1500, 2)) for m in (0, 8, 16)])
    student, gaussian = StudentMixture(3).fit(x), GaussianMixture(3).fit(x)
    np.testing.assert_allclose(student.means_, gaussian.means_, atol=0.1)
    assert (student.dof_ > 15).all()


def test_rician_finds_the_signal_below_the_noise_floor() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([6.0, 60.0], 8000)
    x = np.hypot(truth + rng.normal(0, 5, 16000), rng.normal(0, 5, 16000))
    rician = RicianMixture(2).fit(x)
    assert np.diff(rician.history_).min() >= -ROUNDING
    np.testing.assert_allclose(rician.sigma_, 5, rtol=0.05)
    np.testing.assert_allclose(rician.signal_, [6, 60], atol=0.5)
    # The Gaussian's mean of the dim one is lifted by the noise.
    assert GaussianMixture(2).fit(x).means_[0, 0] > 8
    drawn, z = rician.sample(20000)
    np.testing.assert_allclose(drawn[z == 0].mean(), x[:8000].mean(), rtol=0.03)
    with pytest.raises(DataError, match="magnitudes"):
        RicianMixture(2).fit(x - 20)


def test_latent_classes_are_found_from_symbols() -> None:
    rng = np.random.default_rng(0)
    tables = [
        [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]],
        [[0.9, 0.1], [0.2, 0.8]],
        [[0.7, 0.3], [0.1, 0.9]],
        [[0.9, 0.1], [0.1, 0.9]],
        [[0.2, 0.2, 0.6], [0.6, 0.2, 0.2]],
    ]
    z = rng.integers(0, 2, 6000)
    x = np.stack([[rng.choice(len(t[0]), p=t[k]) for k in z] for t in tables], axis=1)
    mixture = CategoricalMixture(2).fit(x)
    assert np.diff(mixture.history_).min() >= -ROUNDING
    for found, table in zip(mixture.probabilities_, tables, strict=True):
        np.testing.assert_allclose(found.sum(axis=1), 1)
        np.testing.assert_allclose(found, table, atol=0.06)
    assert (mixture.predict(x) == z).mean() > 0.85
    drawn, _ = mixture.sample(6000)
    np.testing.assert_allclose(
        np.bincount(drawn[:, 0].astype(int)), np.bincount(x[:, 0]), rtol=0.15
    )
