"""Histograms: exact where values are few, fine where not, additive always."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainseg.mixture import GaussianMixture, Histogram, log_gaussian, log_joint, responsibilities


def voxelwise(x: np.ndarray, mixture: GaussianMixture) -> float:
    """Mean log-likelihood from the formula, sample by sample."""
    density = log_gaussian(x.reshape(-1, 1), mixture.means_, mixture.covariances_)
    return float(responsibilities(log_joint(density, np.log(mixture.weights_)))[1].mean())


def tissues(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(m, s, n // 3) for m, s in ((30, 8), (80, 7), (110, 5))]
    return np.concatenate(parts)


@settings(max_examples=40, deadline=None)
@given(arrays(np.int16, st.integers(1, 200), elements=st.integers(-50, 50)), st.integers(1, 199))
def test_few_values_are_counted_exactly_and_histograms_add(x: np.ndarray, cut: int) -> None:
    h = Histogram.from_samples(x)
    values, counts = np.unique(x, return_counts=True)
    assert h.exact
    np.testing.assert_array_equal(h.values[:, 0], values)
    np.testing.assert_array_equal(h.counts, counts)
    if 0 < cut < len(x):
        summed = Histogram.from_samples(x[:cut]) + Histogram.from_samples(x[cut:])
        np.testing.assert_array_equal(summed.values, h.values)
        np.testing.assert_array_equal(summed.counts, h.counts)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 2])
def test_cells_keep_the_moments_of_their_samples(d: int, weighted: bool) -> None:
    rng = np.random.default_rng(2)
    x = (1e6 + rng.normal(size=(4000, d))).astype(np.float64)
    w = rng.random(4000) if weighted else None
    h = Histogram.from_samples(x, w, exact_limit=10, fineness=8)
    assert not h.exact
    assert len(h) < 2000
    weight = np.ones(4000) if w is None else w
    np.testing.assert_allclose(h.total, weight.sum())
    mean = np.average(h.values, axis=0, weights=h.counts)
    np.testing.assert_allclose(mean, np.average(x, axis=0, weights=weight), atol=1e-9)
    inside = np.zeros((len(h), d, d))
    i, j = np.triu_indices(d)
    inside[:, i, j] = inside[:, j, i] = h.full_scatter()
    spread = np.cov(h.values.T, aweights=h.counts, bias=True).reshape(d, d)
    total = spread + np.average(inside, axis=0, weights=h.counts)
    expected = np.cov(x.T, aweights=weight, bias=True).reshape(d, d)
    np.testing.assert_allclose(total, expected, rtol=1e-9)


def test_finer_and_coarser_histograms_add() -> None:
    x = tissues(3000)
    fine = Histogram.from_samples(x, exact_limit=10, fineness=256)
    coarse = Histogram.from_samples(x, exact_limit=10, fineness=16)
    both = fine + coarse
    np.testing.assert_array_equal(both.width, coarse.width)
    np.testing.assert_array_equal(both.counts, 2 * coarse.counts)
    np.testing.assert_allclose(both.values, coarse.values, rtol=1e-12)
    exact = Histogram.from_samples(np.rint(x)) + coarse
    np.testing.assert_allclose(exact.total, 6000)


@pytest.mark.parametrize("slope", [1.0, 0.0123])
def test_integer_data_are_fitted_exactly(slope: float) -> None:
    """The histogram's likelihood is the voxelwise one to 1e-10, for scaled integers too."""
    x = (np.rint(tissues(30000)) * slope).astype(np.float32)
    mixture = GaussianMixture(3).fit(x)
    assert Histogram.from_samples(x).exact
    np.testing.assert_allclose(mixture.log_likelihood_, voxelwise(x, mixture), atol=1e-10)


def test_float_data_are_binned_finely_enough() -> None:
    """The histogram's likelihood differs from the voxelwise one by less than 1e-5 per voxel."""
    x = tissues(150_000)
    assert not Histogram.from_samples(x).exact
    mixture = GaussianMixture(3).fit(x)
    voxels = voxelwise(x, mixture)
    assert abs(mixture.log_likelihood_ - voxels) < 1e-5
    # Voxelwise EM from here gains nothing worth the name: the optimum is that of the voxels.
    resp = mixture.predict_proba(x)
    from brainseg.mixture import maximise

    weights, means, covariances = maximise(x[:, None], resp)
    density = log_gaussian(x[:, None], means, covariances)
    after = responsibilities(log_joint(density, np.log(weights)))[1].mean()
    assert abs(after - voxels) < 1e-7


def test_a_cohort_of_float_scans_is_one_map_reduce() -> None:
    """Histograms made apart and added give the likelihood of all voxels together."""
    scans = [tissues(90_000, seed) * scale for seed, scale in enumerate((1.0, 1.1, 0.9))]
    cohort = sum(Histogram.from_samples(scan) for scan in scans)
    assert isinstance(cohort, Histogram)
    assert cohort.total == 270_000
    assert len(cohort) < 60_000
    mixture = GaussianMixture(3).fit(cohort)
    assert abs(mixture.log_likelihood_ - voxelwise(np.concatenate(scans), mixture)) < 1e-5
    together = GaussianMixture(3).fit(np.concatenate(scans))
    np.testing.assert_allclose(mixture.means_, together.means_, rtol=1e-5)


def test_outliers_do_not_make_cells_coarse() -> None:
    x = np.append(tissues(90_000), [1e9, -1e9])
    h = Histogram.from_samples(x)
    assert h.width[0] < 0.05
    assert len(h) < 30_000


def test_weights_count_like_repeated_samples() -> None:
    x = np.rint(tissues(600))
    w = np.random.default_rng(1).integers(0, 4, 600)
    a = Histogram.from_samples(x, w.astype(float))
    b = Histogram.from_samples(np.repeat(x, w))
    np.testing.assert_array_equal(a.values, b.values)
    np.testing.assert_array_equal(a.counts, b.counts)
