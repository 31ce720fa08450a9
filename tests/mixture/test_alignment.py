"""Comparing fits: the best of the K! relabelings."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg.mixture import GaussianMixture, align


class Start:
    """A mixture by its parameters."""

    def __init__(self, means: np.ndarray, covariances: np.ndarray) -> None:
        self.weights_ = np.full(len(means), 1 / len(means))
        self.means_, self.covariances_ = means, covariances


def mixture_of(rng: np.random.Generator, k: int) -> GaussianMixture:
    a = rng.normal(size=(k, 2, 2))
    start = Start(3 * rng.normal(size=(k, 2)), a @ a.transpose(0, 2, 1) + 0.1 * np.eye(2))
    return GaussianMixture(k, init=start, max_iter=0).fit(rng.normal(size=(40, 2)))


def overlap(a: GaussianMixture, i: int, b: GaussianMixture, j: int) -> float:
    """Bhattacharyya's distance by its definition: minus the log of the overlap's integral."""
    m, n = a.covariances_[i], b.covariances_[j]
    mean, other = a.means_[i], b.means_[j]
    middle = (m + n) / 2
    gap = mean - other
    det = np.linalg.det
    return float(
        gap @ np.linalg.solve(middle, gap) / 8
        + 0.5 * np.log(det(middle) / np.sqrt(det(m) * det(n)))
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_no_other_relabeling_is_nearer(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    mixture, reference = mixture_of(rng, k), mixture_of(rng, k)

    def cost(order: tuple[int, ...]) -> float:
        return sum(overlap(reference, j, mixture, i) for j, i in enumerate(order))

    best = min(map(cost, permutations(range(k))))
    np.testing.assert_allclose(cost(tuple(align(mixture, reference))), best, rtol=1e-9)


def test_fits_of_two_halves_agree_once_aligned() -> None:
    """Means that differ in the second channel only have no order in the first one."""
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal((0, m), 1, (2000, 2)) for m in (16, 0, 8)])
    halves = [GaussianMixture(3).fit(x[start::2]) for start in (0, 1)]
    orders = [np.argsort(half.means_[:, 1]).tolist() for half in halves]
    assert orders[0] != orders[1]  # the canonical order is an accident here
    back = halves[1].reordered(align(halves[1], halves[0]))
    # The standard error of a mean of 1000 samples is 0.03.
    np.testing.assert_allclose(back.means_, halves[0].means_, atol=0.2)
    np.testing.assert_allclose(back.weights_, halves[0].weights_, atol=0.01)
    with pytest.raises(ValueError, match="one size"):
        align(halves[0], GaussianMixture(2).fit(x))


def test_align_undoes_any_relabeling() -> None:
    x = np.random.default_rng(0).normal(size=(600, 2)) + 7 * np.repeat(np.eye(3, 2), 200, axis=0)
    mixture = GaussianMixture(3).fit(x)
    for order in ([2, 0, 1], [1, 0, 2]):
        other = mixture.reordered(order)
        back = other.reordered(align(other, mixture))
        for name in ("weights_", "means_", "covariances_"):
            np.testing.assert_array_equal(getattr(back, name), getattr(mixture, name))
    # The order of a mixture is by mean; weights and covariances went along with it.
    np.testing.assert_allclose(mixture.means_[:, 0], np.sort(mixture.means_[:, 0]))
