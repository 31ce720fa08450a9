"""The mixture as users meet it."""

from __future__ import annotations

import numpy as np

from brainseg.mixture import GaussianMixture, Histogram


def three(n: int = 3000, offset: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(1)
    return offset + np.concatenate([rng.normal(m, s, n) for m, s in ((0, 1), (10, 2), (30, 3))])


def test_clear_clusters_are_found_and_sorted() -> None:
    mixture = GaussianMixture(3).fit(three())
    assert mixture.converged_
    np.testing.assert_allclose(mixture.means_[:, 0], [0, 10, 30], atol=0.2)
    np.testing.assert_allclose(np.sqrt(mixture.covariances_[:, 0, 0]), [1, 2, 3], atol=0.15)
    np.testing.assert_allclose(mixture.weights_, 1 / 3, atol=0.02)


def test_responsibilities_sum_to_one_and_history_never_falls() -> None:
    x = three()
    mixture = GaussianMixture(4, random_state=3).fit(x)
    np.testing.assert_allclose(mixture.predict_proba(x).sum(axis=1), 1, rtol=1e-12)
    assert np.diff(mixture.history_).min() >= -1e-12
    np.testing.assert_allclose(mixture.score(x), mixture.log_likelihood_, atol=1e-5)


def test_a_sum_of_histograms_is_fitted_like_all_samples() -> None:
    x = np.rint(three())
    parts = sum(Histogram.from_samples(p) for p in np.array_split(x, 5))
    assert isinstance(parts, Histogram)
    whole, summed = GaussianMixture(3).fit(x), GaussianMixture(3).fit(parts)
    np.testing.assert_array_equal(whole.means_, summed.means_)
    np.testing.assert_array_equal(whole.weights_, summed.weights_)
