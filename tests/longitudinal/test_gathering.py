"""Which sessions are one person, when some are not alike."""

from __future__ import annotations

import numpy as np
import pytest

from brainseg.errors import DataError
from brainseg.longitudinal.gathering import _largest_group


def alike(n: int, *pairs: tuple[int, int]) -> np.ndarray:
    """Sessions of which these pairs are alike."""
    found = np.full((n, n), 0.3)
    np.fill_diagonal(found, 1)
    for k, (s, t) in enumerate(pairs):
        found[s, t] = found[t, s] = 0.9 + 0.01 * k
    return found


def test_the_one_that_is_like_no_other_is_left_out() -> None:
    assert _largest_group(alike(3, (0, 2))) == (0, 2)
    assert _largest_group(alike(4, (0, 1), (0, 3), (1, 3))) == (0, 1, 3)


def test_of_groups_that_share_a_session_the_most_alike_counts() -> None:
    assert _largest_group(alike(3, (0, 1), (1, 2))) == (1, 2)


@pytest.mark.parametrize("pairs", [(), ((0, 1), (2, 3))])
def test_without_a_majority_nobody_is_chosen(pairs: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(DataError, match="no group"):
        _largest_group(alike(4, *pairs))
