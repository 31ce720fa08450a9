"""What the weights of a map of places are drawn to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg.tissues.model import INTENSITY, components_for, log_mixing, usual_weights
from brainseg.tissues.ties import local_weights, usual_sizes


def places(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    return rng.uniform(0.02, 1, (n, m)).astype(np.float32)


def test_usual_weights_stay_where_the_samples_agree() -> None:
    components = components_for(placed=True)
    usual = usual_weights(components)
    atlas = places(np.random.default_rng(0), 500, len(components))
    expected = usual_sizes(components, atlas)
    after = local_weights(usual, expected, log_mixing(usual, atlas), expected, components)
    assert after == pytest.approx(usual, rel=1e-6)  # rounding of float32 places


def test_twice_the_csf_moves_its_weight_by_part_of_the_way() -> None:
    """All samples say twice; two pseudo-samples for each say once."""
    usual = usual_weights(INTENSITY)
    even = np.ones((100, len(INTENSITY)), np.float32)  # weights alone, no places
    expected = usual_sizes(INTENSITY, even)
    found = expected.copy()
    found[0] *= 2
    found *= expected.sum() / found.sum()
    after = local_weights(usual, found, log_mixing(usual, even), expected, INTENSITY)
    assert after == pytest.approx((found + 2 * expected) / 300, rel=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_a_step_never_lowers_the_posterior_of_the_weights(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = len(INTENSITY)
    atlas = places(rng, 50, m)
    resp = rng.dirichlet(np.full(m, 0.3), 50)
    expected = usual_sizes(INTENSITY, atlas)
    pseudo = np.exp(log_mixing(usual_weights(INTENSITY), atlas))

    def log_posterior(weights: np.ndarray) -> float:
        return float(((resp + 2 * pseudo) * log_mixing(weights, atlas)).sum())

    weights = rng.dirichlet(np.ones(m)) + 1e-3
    for _ in range(5):
        mixing = log_mixing(weights, atlas)
        after = local_weights(weights, resp.sum(axis=0), mixing, expected, INTENSITY)
        assert log_posterior(after) >= log_posterior(weights) - 1e-6
        weights = after
