"""What the map of the head says of intensities, before any voxel is given a tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg.atlas.head_atlas import BRAIN
from brainseg.tissues.model import CSF, GREY, WHITE, Floats

CSF_STEPS = (0.9, 1.3)
"""Least and greatest step from CSF to grey, in steps from grey to white, that the map is believed
in. It is off where the scan is coarser than the map expects (2.6 on heads of 2 mm), and Colin loses
0.04 Dice of CSF where 1.7 is believed instead of 1.3."""
# Deep grey matter, stem and cerebellum are no blend of cortex and white matter.
_NOT_CORTEX, _NOT_CEREBELLUM = 0.02, 0.05
_FEWEST = 1000
_ROUNDS = 6
_HUBER = 1.5


@dataclass(frozen=True, eq=False)
class Unmixing:
    """Voxels of the cerebrum, and how much of each the map expects to be CSF, grey and white.

    Attributes
    ----------
    rows : ndarray of int, shape (m,)
        Among the samples.
    shares : ndarray, shape (m, 3)
    """

    rows: NDArray[np.intp]
    shares: Floats

    @classmethod
    def of(cls, atlas: NDArray[np.float32]) -> Unmixing | None:
        """Take the cerebrum of a map (7, n); None where there is too little of it."""
        share = dict(zip(BRAIN, atlas.astype(np.float64), strict=True))
        elsewhere = share["cerebellar_grey"] + share["cerebellar_white"]
        cerebrum = (share["deep_grey"] < _NOT_CORTEX) & (share["brain_stem"] < _NOT_CORTEX)
        rows = np.flatnonzero(cerebrum & (elsewhere < _NOT_CEREBELLUM))
        if len(rows) < _FEWEST:
            return None
        shares = np.stack([share[name][rows] for name in ("csf", "cortical_grey", "white")], axis=1)
        return cls(rows, shares / shares.sum(axis=1, keepdims=True))

    def csf_step(self, values: Floats) -> float:
        """Return how far CSF lies below grey, in steps from grey to white, within `CSF_STEPS`.

        Where a map means what it says, the expectation of an intensity is the pure tissues'
        intensities weighted by its shares: their regression on the map finds these, whatever the
        voxel size and the noise. Robust by Huber's weights.

        Parameters
        ----------
        values : ndarray, shape (n,)
            T1-like intensities of all samples.
        """
        x, weights = values[self.rows], np.ones(len(self.rows))
        for _ in range(_ROUNDS):
            weighted = self.shares.T * weights
            pure = np.linalg.solve(weighted @ self.shares + 1e-9 * np.eye(3), weighted @ x)
            residual = np.abs(x - self.shares @ pure)
            limit = _HUBER * 1.4826 * max(float(np.median(residual)), 1e-6)
            weights = np.minimum(1, limit / np.maximum(residual, 1e-12))
        step = (pure[GREY] - pure[CSF]) / max(pure[WHITE] - pure[GREY], 1e-3)
        return float(np.clip(step, *CSF_STEPS))
