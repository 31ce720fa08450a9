"""The mixture of a cohort, brought to the intensities of one brain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg.config import CohortPrior

Floats = NDArray[np.float64]


def in_intensities(prior: CohortPrior, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the mixture of a cohort in the intensities of one brain.

    Parameters
    ----------
    prior : CohortPrior
    values : ndarray, shape (n,)
        Bias-corrected intensities inside the mask.

    Returns
    -------
    weights, means, covariances : ndarray, shapes (K,), (K, 1), (K, 1, 1)
    """
    low, high = np.percentile(values, prior.percentiles)
    unit = max(high - low, np.finfo(float).tiny)
    means = low + unit * np.array(prior.means)
    covariances = unit**2 * np.array(prior.variances)
    return np.array(prior.weights), means[:, None], covariances[:, None, None]
