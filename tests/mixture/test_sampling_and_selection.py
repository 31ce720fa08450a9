"""Sampling both ways, comparison of models, and EM step by step."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, kstest, norm

from brainseg.mixture import GaussianMixture, best, converged, select_model, snapshots


class Known:
    """Three overlapping Gaussians in two channels."""

    weights_ = np.array([0.2, 0.5, 0.3])
    means_ = np.array([[0.0, 0.0], [4.0, 1.0], [9.0, -3.0]])
    covariances_ = np.array([[[1, 0.6], [0.6, 1]], [[2, -1], [-1, 3]], [[1, 0], [0, 0.5]]])


@pytest.fixture(scope="module")
def mixture() -> GaussianMixture:
    x = np.random.default_rng(0).normal(size=(50, 2))
    return GaussianMixture(3, init=Known, max_iter=0).fit(x)


def test_ancestral_samples_come_with_their_component(mixture: GaussianMixture) -> None:
    x, z = mixture.sample(30_000, random_state=1)
    # Three standard errors of a share of 30,000.
    np.testing.assert_allclose(np.bincount(z) / 30_000, Known.weights_, atol=0.009)
    for k in range(3):
        part = x[z == k]
        np.testing.assert_allclose(part.mean(0), Known.means_[k], atol=0.07)
        np.testing.assert_allclose(np.cov(part.T), Known.covariances_[k], atol=0.12)
    assert (np.diff(z) != 0).mean() > 0.5  # not sorted by component


def test_marginal_samples_follow_p_of_x_alone(mixture: GaussianMixture) -> None:
    x = mixture.sample_marginal(20_000, random_state=2)

    def cdf(channel: int, at: np.ndarray) -> np.ndarray:
        sd = np.sqrt(Known.covariances_[:, channel, channel])
        return norm.cdf(at[:, None], Known.means_[:, channel], sd) @ Known.weights_

    for channel in range(2):
        # Each channel's own distribution is known exactly; 1.95 / sqrt(n) is the 0.1 % bound.
        assert kstest(x[:, channel], lambda v, c=channel: cdf(c, v)).statistic < 1.95 / 20_000**0.5
    # Both ways fill the plane alike: a table of counts cannot tell them apart.
    both = [
        np.histogram2d(*s.T, bins=12, range=[[-4, 13], [-7, 8]])[0].ravel()
        for s in (x, mixture.sample(20_000, random_state=3)[0])
    ]
    table = np.array(both)[:, np.sum(both, axis=0) > 20]
    assert chi2_contingency(table).pvalue > 1e-3


def test_sampling_is_reproducible(mixture: GaussianMixture) -> None:
    np.testing.assert_array_equal(mixture.sample(10, 4)[0], mixture.sample(10, 4)[0])
    np.testing.assert_array_equal(mixture.sample_marginal(10, 4), mixture.sample_marginal(10, 4))


def test_the_true_number_of_components_wins() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(m, s, 3000) for m, s in ((0, 1), (6, 1.5), (15, 2))])
    table = select_model(x, range(1, 6))
    assert [row.n_components for row in table] == [1, 2, 3, 4, 5]
    assert best(table, "bic").n_components == 3
    assert best(table, "icl").n_components == 3
    # More components than the truth gain next to nothing on data that the fit did not see.
    held_out = {row.n_components: row.held_out for row in table}
    assert held_out[3] > held_out[2] + 0.01
    assert max(held_out.values()) - held_out[3] < 1e-3
    for row in table:
        n = len(x)
        assert row.n_parameters == 3 * row.n_components - 1
        np.testing.assert_allclose(row.bic - row.aic, row.n_parameters * (np.log(n) - 2))
        assert row.icl >= row.bic
    with pytest.raises(ValueError, match="criterion"):
        best(table, "looks")


def test_families_and_covariance_types_compete() -> None:
    rng = np.random.default_rng(4)
    heavy = np.concatenate([rng.standard_t(3, 4000), 30 + rng.standard_t(3, 4000)])
    winner = best(select_model(heavy, [2], families=["gaussian", "student"]), "held_out")
    assert winner.family == "student"
    round_ones = np.concatenate([rng.normal(m, 1, (800, 2)) for m in (0, 6)])
    table = select_model(round_ones, [2], covariance_types=["full", "spherical"])
    assert best(table, "bic").covariance_type == "spherical"
    assert {row.name for row in table} == {"gaussian full", "gaussian spherical"}
    with pytest.raises(ValueError, match="family"):
        select_model(heavy, [2], families=["cauchy"])


def test_snapshots_are_one_run_of_plain_em_looked_at_on_the_way() -> None:
    rng = np.random.default_rng(5)
    x = np.rint(np.concatenate([rng.normal(m, 5, 500) for m in (10, 30, 45)]))
    frames = snapshots(x, 3, init="random", cycles=(0, 1, 2, 5, 20))
    assert [f.cycle for f in frames] == [0, 1, 2, 5, 20]
    values = [f.log_likelihood for f in frames]
    assert np.diff(values).min() >= 0
    whole = GaussianMixture(3, init="random", max_iter=20, tol=0, accelerate=False).fit(x)
    np.testing.assert_allclose(values, np.array(whole.history_)[[0, 1, 2, 5, 20]], rtol=1e-12)
    np.testing.assert_allclose(frames[-1].mixture.means_, whole.means_, rtol=1e-10)


def test_components_keep_their_places_when_their_means_overtake_each_other() -> None:
    # Two components start on the wrong sides of each other's data: the narrow one right of the
    # wide one, which is where the wide one's mean ends.
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(0, 1, 3000), rng.normal(6, 12, 3000)])

    class Start:
        weights_ = np.array([0.5, 0.5])
        means_ = np.array([[1.0], [2.0]])
        covariances_ = np.array([[[150.0]], [[1.0]]])

    frames = snapshots(x, 2, init=Start, cycles=(0, 1, 5, 60))
    end = converged(frames[-1], x)
    for mixture in [f.mixture for f in frames] + [end]:
        assert mixture.covariances_[0, 0, 0] > mixture.covariances_[1, 0, 0]  # the wide one stays
    assert frames[0].mixture.means_[0, 0] < frames[0].mixture.means_[1, 0]
    assert end.means_[0, 0] > end.means_[1, 0]  # they did overtake each other
    assert end.log_likelihood_ >= frames[-1].log_likelihood
