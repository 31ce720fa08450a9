"""Singular components, and the prior that removes them at the root."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg.mixture import ConjugatePrior, GaussianMixture

KINDS = ["full", "tied", "diag", "spherical"]
# Sums of some hundred terms of order 10 in float64.
ROUNDING = 1e-12


def two_clouds() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 1, 500), rng.normal(8, 1, 500)])


class Empty:
    """A start of which the second component lies where there is nothing, and holds nothing."""

    weights_ = np.array([0.5, 1e-30, 0.5])
    means_ = np.array([[0.0], [-400.0], [8.0]])
    covariances_ = np.ones((3, 1, 1))


def test_an_empty_component_starts_afresh_where_the_fit_is_worst() -> None:
    # A small cloud that neither of the two big ones explains.
    x = np.append(two_clouds(), np.random.default_rng(1).normal(30, 1, 60))
    mixture = GaussianMixture(3, init=Empty).fit(x)
    assert mixture.events_ == (
        "component 2 of 3 is empty; it starts afresh where the fit is worst",
    )
    # A standard error of 60 samples is 0.13.
    np.testing.assert_allclose(mixture.means_[:, 0], [0, 8, 30], atol=0.4)


def test_reseeding_stops_after_a_few_times_and_says_so() -> None:
    """Three values cannot hold five components of any width: what is left is on the floor."""
    x = np.repeat([0.0, 1.0, 7.0, 7.5, 20.0], [40, 2, 2, 50, 30])
    mixture = GaussianMixture(5).fit(x)
    assert 1 <= len(mixture.events_) <= 3
    assert np.isfinite(mixture.log_likelihood_)
    assert np.isfinite(mixture.predict_proba(x)).all()
    assert mixture.covariances_.min() > 0


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(KINDS),
    st.integers(1, 3),
    st.integers(2, 5),
    st.sampled_from([1.0, 1e3, 1e6, 1e9]),
)
def test_nothing_is_ever_nan_or_unbounded(seed: int, kind: str, d: int, k: int, far: float) -> None:
    """Data made to collapse: few distinct rows, most of them piled up on one."""
    rng = np.random.default_rng(seed)
    x = np.append(rng.normal(size=(k + 3, d)), np.zeros((60, d)), axis=0)
    x = np.append(x, rng.normal(size=(2, d)) * far, axis=0)
    mixture = GaussianMixture(k, covariance_type=kind, random_state=seed, max_iter=200).fit(x)
    assert np.isfinite(mixture.history_).all()
    assert np.isfinite(mixture.predict_proba(x)).all()
    for values in (mixture.weights_, mixture.means_, mixture.covariances_):
        assert np.isfinite(values).all()
    # No variance is below a millionth of a typical component's, itself at least 1e-20 of the
    # largest value squared: a density of at most 1e13 per channel.
    assert mixture.log_likelihood_ < 30 * d


@pytest.mark.parametrize("kind", KINDS)
def test_singular_components_are_tamed_and_reported(kind: str) -> None:
    """A hundred samples on one point beside a cloud: finite, positive, no NaN."""
    rng = np.random.default_rng(0)
    x = np.concatenate([np.zeros((100, 2)), rng.normal(5, 1, (200, 2))])
    mixture = GaussianMixture(3, covariance_type=kind).fit(x)
    assert np.isfinite(mixture.log_likelihood_)
    assert mixture.log_likelihood_ < 20
    assert np.isfinite(mixture.predict_proba(x)).all()
    assert len(mixture.events_) <= 3
    if kind != "tied":
        assert mixture.events_
        assert "collapsed" in mixture.events_[0]


def test_an_outlier_does_not_keep_a_component_to_itself() -> None:
    rng = np.random.default_rng(0)
    x = np.append(np.concatenate([rng.normal(0, 1, 500), rng.normal(8, 1, 500)]), 40.0)
    mixture = GaussianMixture(3, random_state=1).fit(x)
    assert np.isfinite(mixture.covariances_).all()
    assert mixture.covariances_.min() > 1e-6


def test_a_prior_keeps_means_in_place_and_nothing_collapses() -> None:
    x = np.append(two_clouds(), np.random.default_rng(1).normal(20, 2, 500))
    start = GaussianMixture(3).fit(x)
    strong = ConjugatePrior.around(
        start.weights_,
        start.means_ + 1,
        start.covariances_,
        mean_strength=1e7,
        covariance_strength=1e7,
        weight_strength=1e7,
    )
    held = GaussianMixture(3, prior=strong).fit(x)
    np.testing.assert_allclose(held.means_, start.means_ + 1, atol=1e-3)
    np.testing.assert_allclose(held.covariances_, start.covariances_, rtol=1e-2)
    np.testing.assert_allclose(held.weights_, start.weights_, atol=1e-3)
    weak = ConjugatePrior.around(
        start.weights_,
        start.means_,
        start.covariances_,
        mean_strength=1e-6,
        covariance_strength=1e-6,
    )
    np.testing.assert_allclose(
        GaussianMixture(3, prior=weak).fit(x).means_, start.means_, atol=1e-3
    )
    points = np.repeat([0.0, 1.0, 5.0, 5.5], [50, 1, 1, 40])
    tamed = GaussianMixture(4, prior=ConjugatePrior.weak([2.0], [[4.0]], 4)).fit(points)
    assert np.isfinite(tamed.log_likelihood_)
    # The prior's scatter alone, over all samples, is the least that is left.
    assert tamed.covariances_.min() > (4.0 / 16) / (92 + 6) / 2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(KINDS), st.integers(1, 3), st.booleans())
def test_the_posterior_never_falls(seed: int, kind: str, d: int, accelerate: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, d))
    prior = ConjugatePrior.around(
        [1, 2, 3], rng.normal(size=(3, d)), np.repeat(np.eye(d)[None], 3, 0),
        mean_strength=rng.random(3) * 5, covariance_strength=rng.random(3) * 9 + d,
        weight_strength=4.0,
    )  # fmt: skip
    mixture = GaussianMixture(
        3, covariance_type=kind, prior=prior, accelerate=accelerate, max_iter=50
    ).fit(x)
    assert np.diff(mixture.history_).min(initial=0) >= -ROUNDING * 10
