"""Comparing fits: the best of the K! ways to name one mixture's components after another's."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from brainseg.mixture.engine.arrays import Floats, Ints
from brainseg.mixture.engine.covariances import expand_covariances
from brainseg.mixture.families.gaussian import GaussianMixture


def align(mixture: GaussianMixture, reference: GaussianMixture) -> Ints:
    """Find the relabeling of a mixture that is nearest to a reference.

    The cost of a pair is its Bhattacharyya distance, which compares means and covariances and
    knows no unit (Bhattacharyya, Bull. Calcutta Math. Soc. 35 (1943) 99-109); the best of all K!
    assignments is found in polynomial time (Kuhn, Naval Res. Logist. Q. 2 (1955) 83-97,
    doi:10.1002/nav.3800020109).

    Parameters
    ----------
    mixture, reference : GaussianMixture
        Fitted, with the same numbers of components and channels.

    Returns
    -------
    ndarray of int64, shape (K,)
        ``order`` such that ``mixture.means_[order]`` stand beside ``reference.means_``;
        `GaussianMixture.reordered` applies it to all parameters together.

    Raises
    ------
    ValueError
        When the mixtures differ in size.
    """
    if mixture.means_.shape != reference.means_.shape:
        raise ValueError(
            f"means have shapes {reference.means_.shape} and {mixture.means_.shape}; "
            f"only mixtures of one size can be aligned"
        )
    distance = bhattacharyya(reference.means_, _full(reference), mixture.means_, _full(mixture))
    return np.asarray(linear_sum_assignment(distance)[1], dtype=np.int64)


def _full(mixture: GaussianMixture) -> Floats:
    k, d = mixture.means_.shape
    return expand_covariances(mixture.covariances_, mixture.covariance_type, k, d)


def bhattacharyya(m1: Floats, s1: Floats, m2: Floats, s2: Floats) -> Floats:
    """Return the Bhattacharyya distances between all pairs of Gaussians.

    Parameters
    ----------
    m1, s1 : ndarray, shapes (K1, D) and (K1, D, D)
        Means and covariances.
    m2, s2 : ndarray, shapes (K2, D) and (K2, D, D)

    Returns
    -------
    ndarray, shape (K1, K2)
        0 where both are the same.
    """
    middle = 0.5 * (s1[:, None] + s2)
    delta = m1[:, None] - m2
    square = np.einsum("abd,abde,abe->ab", delta, np.linalg.inv(middle), delta)
    logs = [np.linalg.slogdet(s)[1] for s in (middle, s1, s2)]
    distance: Floats = square / 8 + 0.5 * (logs[0] - 0.5 * (logs[1][:, None] + logs[2]))
    return distance
