"""The pool of the placed atlas and the network's map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg.anatomy.prior import FAINT, pooled


def maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    one, other = rng.dirichlet(np.full(7, 0.3), size=(2, 50)).astype(np.float32)
    return one.T, other.T


@given(st.integers(0, 1000), st.floats(0, 1))
def test_a_pool_is_a_map_that_does_not_care_who_is_named_first(seed: int, weight: float) -> None:
    one, other = maps(seed)
    pool = pooled(one, other, weight)
    # single precision
    assert pool.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert pool == pytest.approx(pooled(other, one, 1 - weight), abs=1e-5)


def test_all_the_weight_leaves_one_map() -> None:
    one, other = maps(1)
    # but for what is added to both
    assert pooled(one, other, 1.0) == pytest.approx(other, abs=7 * FAINT)


def test_more_weight_brings_the_pool_nearer_to_that_map() -> None:
    one, other = maps(2)
    far = [float(np.abs(pooled(one, other, w) - other).sum()) for w in (0.25, 0.5, 2 / 3, 0.9)]
    assert far == sorted(far, reverse=True)
