"""The mixture of a cohort, in units that scans share, as what to expect of another scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CohortPrior:
    """A mixture of one channel; 0 and 1 are two percentiles of the brain's intensities.

    Attributes
    ----------
    weights, means, variances : tuple of float
        By component, from dark to bright; normalised intensity, and its square.
    percentiles : tuple of float
        Which percentiles of a brain are 0 and 1.
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    variances: tuple[float, ...]
    percentiles: tuple[float, float]

    def for_brain(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the mixture in the intensities of one brain.

        Parameters
        ----------
        values : ndarray, shape (n,)
            Bias-corrected intensities inside the mask.

        Returns
        -------
        weights, means, covariances : ndarray, shapes (K,), (K, 1), (K, 1, 1)
        """
        low, high = np.percentile(values, self.percentiles)
        unit = max(high - low, np.finfo(float).tiny)
        means = low + unit * np.array(self.means)
        covariances = unit**2 * np.array(self.variances)
        return np.array(self.weights), means[:, None], covariances[:, None, None]
