"""EM: the likelihood never falls, and ends where it should, for every kind of mixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from brainseg.errors import DataError
from brainseg.mixture import GaussianMixture, Histogram, align, kmeans

KINDS = ["full", "tied", "diag", "spherical"]
# Sums of some hundred terms of order 10 in float64.
ROUNDING = 1e-12


def clusters(d: int, n: int = 400, seed: int = 0, gap: float = 8.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    z = np.arange(3 * n) % 3
    centres = np.zeros((3, d))
    centres[1, 0], centres[2, -1] = gap, 2 * gap
    return centres[z] + rng.normal(size=(3 * n, d)) * (1 + 0.3 * z[:, None]), z


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from(KINDS),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["kmeans", "random", "quantile"]),
)
def test_likelihood_never_falls(
    seed: int, d: int, k: int, kind: str, weighted: bool, accelerate: bool, init: str
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(80, d)) * 10.0 ** rng.integers(-3, 4) + 10.0 ** rng.integers(-2, 5)
    w = rng.random(80) if weighted else None
    mixture = GaussianMixture(
        k, covariance_type=kind, init=init, accelerate=accelerate, max_iter=60, random_state=seed
    ).fit(x, sample_weight=w)
    assert np.diff(mixture.history_).min(initial=0) >= -ROUNDING * (1 + abs(mixture.history_[-1]))
    assert np.isfinite(mixture.history_).all()
    for values in (mixture.weights_, mixture.means_, mixture.covariances_):
        assert np.isfinite(values).all()
    assert (np.diff(mixture.means_[:, 0]) >= 0).all()
    np.testing.assert_allclose(mixture.weights_.sum(), 1)
    np.testing.assert_allclose(
        mixture.score(x, sample_weight=w), mixture.log_likelihood_, rtol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_do_not_depend_on_the_offset(kind: str) -> None:
    x, _ = clusters(2)
    near = GaussianMixture(3, covariance_type=kind).fit(x)
    far = GaussianMixture(3, covariance_type=kind).fit(x + 1e6)
    np.testing.assert_allclose(far.means_ - 1e6, near.means_, atol=1e-4)
    np.testing.assert_allclose(far.covariances_, near.covariances_, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "float32", ">f4", "float64"])
def test_no_dtype_costs_digits(dtype: str, d: int, kind: str) -> None:
    """Arithmetic is in float64 whatever comes in: the same numbers give the same mixture."""
    # Whole numbers around 1e4: float32 squares of them would lose all of a variance of 4.
    x = np.rint(1e4 + 2 * clusters(d)[0])
    fits = [GaussianMixture(3, covariance_type=kind).fit(x.astype(t)) for t in (dtype, "float64")]
    for name in ("weights_", "means_", "covariances_", "history_"):
        np.testing.assert_array_equal(getattr(fits[0], name), getattr(fits[1], name))
    assert fits[0].predict_proba(x.astype(dtype)).dtype == np.float64


def test_clusters_a_million_deviations_apart_keep_their_width() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(s * 1e6, 1, (500, 2)) for s in (-1, 1)])
    mixture = GaussianMixture(2).fit(x)
    expected = [np.cov(part.T, bias=True) for part in (x[:500], x[500:])]
    np.testing.assert_allclose(mixture.covariances_, expected, rtol=1e-6, atol=1e-6)


def test_a_given_start_is_evaluated_as_it_is_and_the_end_matches_its_likelihood() -> None:
    x, _ = clusters(2)
    start = GaussianMixture(3, max_iter=0, init="random").fit(x)
    assert start.n_iter_ == 0
    again = GaussianMixture(3, init=start, max_iter=0).fit(x)
    np.testing.assert_allclose(again.log_likelihood_, start.log_likelihood_, rtol=1e-12)
    fitted = GaussianMixture(3, init=start).fit(x)
    np.testing.assert_allclose(fitted.history_[0], start.log_likelihood_, rtol=1e-12)
    # Labels belong to the parameters returned: these have the likelihood that is reported.
    np.testing.assert_allclose(fitted.score(x), fitted.log_likelihood_, rtol=1e-12)


def test_acceleration_ends_no_lower_and_needs_fewer_sweeps() -> None:
    rng = np.random.default_rng(5)
    x = np.rint(np.concatenate([rng.normal(m, s, 4000) for m, s in ((40, 9), (60, 9), (85, 8))]))
    plain = GaussianMixture(3, accelerate=False, tol=1e-10).fit(x)
    fast = GaussianMixture(3, tol=1e-10).fit(x)
    assert fast.log_likelihood_ >= plain.log_likelihood_ - 1e-9
    assert fast.n_iter_ < plain.n_iter_ / 4


def test_tolerance_bounds_what_is_left_to_gain() -> None:
    """Converged to 1e-8 per sample means it: the optimum proper is not further away."""
    rng = np.random.default_rng(6)
    x = np.rint(np.concatenate([rng.normal(m, 10, 3000) for m in (40, 62, 85, 110)]))
    loose, tight = GaussianMixture(4, tol=1e-8).fit(x), GaussianMixture(4, tol=1e-13).fit(x)
    assert tight.log_likelihood_ - loose.log_likelihood_ < 5e-8


@pytest.mark.parametrize("accelerate", [False, True])
def test_convergence_on_parameters_is_the_users_choice(accelerate: bool) -> None:
    x, _ = clusters(1)
    mixture = GaussianMixture(3, convergence="parameters", tol=1e-7, accelerate=accelerate).fit(x)
    assert mixture.converged_
    more = GaussianMixture(3, init=mixture, max_iter=1, accelerate=False, tol=0).fit(x)
    assert np.abs(more.means_ - mixture.means_).max() < 1e-6
    with pytest.raises(DataError, match="convergence"):
        GaussianMixture(3, convergence="labels").fit(x)


def test_same_bits_whatever_the_number_of_threads_and_twice_in_a_row() -> None:
    x, _ = clusters(3, n=9000)
    fits = []
    for threads in (1, 2, 2):
        with threadpool_limits(threads):
            mixture = GaussianMixture(3).fit(x)
            fits.append((mixture.means_, mixture.covariances_, mixture.predict_proba(x)))
    for other in fits[1:]:
        for a, b in zip(fits[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_fully_labelled_samples_need_one_m_step() -> None:
    x, z = clusters(2)
    mixture = GaussianMixture(3).fit(x, labels=z)
    assert mixture.n_iter_ == 0
    for k in range(3):
        np.testing.assert_allclose(mixture.means_[k], x[z == k].mean(axis=0), rtol=1e-9)
        np.testing.assert_allclose(
            mixture.covariances_[k], np.cov(x[z == k].T, bias=True), rtol=1e-9
        )
    # Component k is label k, whatever its mean.
    swapped = GaussianMixture(3).fit(x, labels=2 - z)
    np.testing.assert_allclose(swapped.means_, mixture.means_[::-1])


@pytest.mark.parametrize("d", [1, 2])
def test_known_labels_stay_clamped_while_the_rest_is_inferred(d: int) -> None:
    x, z = clusters(d, gap=4.0)
    names = np.array([2, 0, 1])[z]
    known = np.where(np.arange(len(x)) % 20 == 0, names, -1)
    mixture = GaussianMixture(3).fit(x, labels=known)
    agree = (mixture.predict(x) == names).mean()
    free = align(GaussianMixture(3).fit(x), mixture)
    assert agree > 0.9
    assert sorted(free) == [0, 1, 2]
    assert np.diff(mixture.history_).min() >= -ROUNDING * 10
    # Clamped samples pull their component: a label far out moves the mean towards it.
    lured = np.append(x, [[40.0] * d] * 60, axis=0)
    with_lure = GaussianMixture(3).fit(lured, labels=np.append(known, [0] * 60))
    assert with_lure.means_[0, 0] > mixture.means_[0, 0] + 1


def test_spatial_priors_take_the_place_of_the_weights() -> None:
    rng = np.random.default_rng(0)
    z = (np.arange(4000) >= 2000).astype(int)
    x = rng.normal([0.0, 1.0], 1.0, size=(4000, 2))[np.arange(4000), z]
    pi = np.where(z[:, None] == [0, 1], 0.95, 0.05)
    mixture = GaussianMixture(2).fit(x, log_mixing=np.log(pi))
    np.testing.assert_allclose(mixture.means_[:, 0], [0, 1], atol=0.1)
    assert (mixture.predict_proba(x, np.log(pi)).argmax(1) == z).mean() > 0.9


def test_degenerate_inputs_are_explained() -> None:
    with pytest.raises(DataError, match="2 distinct"):
        GaussianMixture(3).fit([1.0, 1.0, 2.0, 2.0])
    with pytest.raises(DataError, match="1 of 3 samples are not finite"):
        GaussianMixture(1).fit([1.0, np.nan, 2.0])
    with pytest.raises(DataError, match="labels run from 0 to 3"):
        GaussianMixture(3).fit([1.0, 2.0, 3.0], labels=[0, 1, 3])
    with pytest.raises(DataError, match="labelled"):
        GaussianMixture(3).fit([1.0, 2.0, 3.0], labels=[0, 1, 1])
    with pytest.raises(DataError, match="sample_weight"):
        GaussianMixture(1).fit([1.0, 2.0], sample_weight=[-1.0, 1.0])
    with pytest.raises(DataError, match="channels"):
        GaussianMixture(1).fit([1.0, 2.0]).predict_proba(np.ones((3, 2)))
    constant = GaussianMixture(1).fit(np.full(10, 7.0))
    assert constant.means_[0, 0] == 7
    assert constant.covariances_[0, 0, 0] > 0


@pytest.mark.parametrize("d", [1, 2])
def test_clusters_fractions_and_covariances_are_the_start(d: int) -> None:
    x, _ = clusters(d, gap=3.0)
    start = GaussianMixture(3, max_iter=0, random_state=3).fit(x)
    found = kmeans(x, 3, random_state=3)
    np.testing.assert_allclose(start.means_, found.centres, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(start.weights_, np.bincount(found.labels) / len(x), rtol=1e-12)
    for k in range(3):
        scatter = np.cov(x[found.labels == k].T, bias=True).reshape(d, d)
        np.testing.assert_allclose(start.covariances_[k], scatter, rtol=1e-9)


def test_quantiles_are_parts_of_equal_weight_and_random_starts_differ() -> None:
    x = np.sort(np.random.default_rng(0).normal(size=900))
    start = GaussianMixture(3, init="quantile", max_iter=0).fit(x)
    np.testing.assert_allclose(start.weights_, 1 / 3)
    np.testing.assert_allclose(start.means_[:, 0], x.reshape(3, 300).mean(axis=1), rtol=1e-9)
    a, b, again = (
        GaussianMixture(3, init="random", max_iter=0, random_state=s).fit(x).means_
        for s in (1, 2, 1)
    )
    assert not np.allclose(a, b)
    np.testing.assert_array_equal(a, again)


def test_restarts_keep_the_best() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(m, 0.3, 60) for m in (0, 2, 4, 10, 12)])
    alone = [
        GaussianMixture(5, init="random", random_state=s).fit(x).log_likelihood_ for s in range(6)
    ]
    many = GaussianMixture(5, init="random", n_init=6).fit(x)
    np.testing.assert_allclose(many.log_likelihood_, max(alone), atol=1e-7)


def test_distinct_rows_of_several_channels_are_fitted_like_the_rows() -> None:
    rng = np.random.default_rng(0)
    x = np.rint(np.concatenate([rng.normal(m, 2, (30_000, 2)) for m in (10, 30)]))
    rows = GaussianMixture(2).fit(x)
    cells = GaussianMixture(2).fit(Histogram.from_samples(x))
    np.testing.assert_allclose(rows.means_, cells.means_, rtol=1e-10)
    np.testing.assert_allclose(rows.log_likelihood_, rows.score(x), atol=1e-10)


def test_many_rows_end_where_a_fit_to_the_rows_alone_does() -> None:
    """The coarse histogram only shows the way: the optimum is that of the samples."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(m, 2, (20_000, 2)) for m in (0, 6, 14)])
    via_cells = GaussianMixture(3).fit(x)
    alone = GaussianMixture(3, init=via_cells, accelerate=False, tol=1e-12).fit(x)
    np.testing.assert_allclose(via_cells.log_likelihood_, alone.log_likelihood_, atol=1e-8)
