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


@given(st.integers(0, 1000))
def test_a_pool_is_a_map_that_does_not_care_who_is_named_first(seed: int) -> None:
    one, other = maps(seed)
    pool = pooled(one, other)
    # single precision
    assert pool.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert pool == pytest.approx(pooled(other, one), abs=1e-5)


def test_a_map_pooled_with_itself_stays() -> None:
    one, _ = maps(1)
    # but for what is added to both
    assert pooled(one, one) == pytest.approx(one, abs=7 * FAINT)


def test_the_pool_lies_between_the_two() -> None:
    one, other = maps(2)
    between = float(np.abs(pooled(one, other) - other).sum())
    assert between < float(np.abs(one - other).sum())
