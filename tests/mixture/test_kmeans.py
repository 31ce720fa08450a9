"""K-means: seeds, restarts, weights, and the same answer under the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from brainseg.errors import DataError
from brainseg.mixture import Histogram, kmeans


def blobs(d: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    z = np.repeat(np.arange(4), 100)
    centres = np.stack([np.arange(4) * 10.0] + [(np.arange(4) % 2) * 10.0] * (d - 1), axis=1)
    return centres[z] + rng.normal(size=(400, d)), z


def test_clear_clusters_are_found_in_order_of_the_first_channel() -> None:
    x, z = blobs()
    found = kmeans(x, 4)
    np.testing.assert_array_equal(found.labels, z)
    np.testing.assert_allclose(found.centres, [x[z == k].mean(0) for k in range(4)])
    np.testing.assert_allclose(found.inertia, ((x - found.centres[z]) ** 2).sum())
    assert found.converged


def test_same_seed_same_result_and_more_restarts_are_never_worse() -> None:
    x = np.random.default_rng(1).normal(size=(300, 2))
    a, b = kmeans(x, 7, random_state=5), kmeans(x, 7, random_state=5)
    np.testing.assert_array_equal(a.centres, b.centres)
    assert kmeans(x, 7, n_init=10, random_state=5).inertia <= a.inertia * (1 + 1e-9)


def test_a_histogram_is_clustered_like_its_samples() -> None:
    rng = np.random.default_rng(2)
    x = np.rint(np.concatenate([rng.normal(m, 8, 2000) for m in (40, 90, 150)]))
    h = Histogram.from_samples(x)
    by_cells = kmeans(h.values, 3, sample_weight=h.counts, n_init=8)
    by_samples = kmeans(x, 3, n_init=8)
    np.testing.assert_allclose(by_cells.centres, by_samples.centres, rtol=1e-9)


def test_plus_plus_spreads_its_seeds() -> None:
    """Four far blobs, one Lloyd cycle: k-means++ hits each blob far more often than chance."""
    x, _ = blobs()
    hits = sum(
        len(set(np.rint(kmeans(x, 4, n_init=1, max_iter=1, random_state=s).centres[:, 0] / 10)))
        == 4
        for s in range(40)
    )
    assert hits > 20  # by chance 4!/4^4, that is 4 of 40


def test_offsets_cost_no_digits() -> None:
    x, z = blobs()
    np.testing.assert_array_equal(kmeans(x + 1e8, 4).labels, z)


def test_too_few_distinct_samples_are_named() -> None:
    with pytest.raises(DataError, match="2 distinct samples, 3 components"):
        kmeans([1.0, 1.0, 2.0], 3)
