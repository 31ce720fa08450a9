"""Coordinates around a Gaussian mixture in which EM's complete-data information is diagonal.

Means are measured in each reference component's own axes and covariances as Sigma = L L',
L = L_ref B, with B lower triangular and its diagonal in logarithms. There the information of
complete data is N_k for means and off-diagonals, 2 N_k for log-diagonals: one EM step is close to
gradient divided by it (Xu & Jordan, Neural Computation 8 (1996) 129-151,
doi:10.1162/neco.1996.8.1.129), which makes a good first guess for quasi-Newton steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from brainseg.mixture.engine.arrays import Floats, strictly_lower
from brainseg.mixture.engine.covariances import above_floor

# No component is trusted to hold less than this share: it bounds the first guess of a step.
_LEAST_SHARE = 1e-5


class Gaussians(Protocol):
    """What the coordinates ask of Gaussian components."""

    @property
    def means(self) -> Floats:
        """Means, shape (K, D)."""
        ...

    @property
    def covariances(self) -> Floats:
        """Covariances, shape (K, D, D)."""
        ...

    @property
    def covariance_type(self) -> str:
        """One of ``full``, ``tied``, ``diag`` and ``spherical``."""
        ...

    @property
    def floor(self) -> Floats:
        """Smallest variance in each channel, shape (D,)."""
        ...

    def with_parameters(self, means: Floats, covariances: Floats) -> Self:
        """Return the same components with other parameters."""
        ...

    def posterior_moments(self, statistics: Floats) -> tuple[Floats, Floats, Floats]:
        """Return first and second moments about the means, and counts, prior included."""
        ...


G = TypeVar("G", bound=Gaussians)


@dataclass(frozen=True, eq=False)
class GaussianFrame(Generic[G]):
    """Coordinates around reference components; the reference itself lies at 0."""

    reference: G

    @cached_property
    def _factors(self) -> Floats:
        cov = self.reference.covariances
        if self.reference.covariance_type == "tied":
            cov = cov[:1]
        return np.asarray(np.linalg.cholesky(cov))

    @cached_property
    def _sizes(self) -> tuple[int, int, int]:
        """Numbers of coordinates of means, log-diagonals and off-diagonals."""
        k, d = self.reference.means.shape
        n = len(self._factors)
        return k * d, n * d, n * d * (d - 1) // 2

    def at(self, vector: Floats) -> G | None:
        """Return the components at coordinates, or None where a variance is below the floor."""
        reference = self.reference
        if not vector.any():
            # Not by way of the factors, whose rounding may put a component on the floor below it.
            return reference
        k, d = reference.means.shape
        means, inner = self._unpacked(vector)
        moved = reference.means + np.einsum("kde,ke->kd", self._factors, means.reshape(k, d))
        factors = self._factors @ inner
        cov = factors @ factors.transpose(0, 2, 1)
        if not (np.isfinite(cov).all() and above_floor(cov, reference.floor)):
            return None
        cov = np.repeat(cov, k // len(cov), axis=0)
        return reference.with_parameters(moved, cov)

    def _unpacked(self, vector: Floats) -> tuple[Floats, Floats]:
        d = self.reference.means.shape[1]
        a, b, _ = self._sizes
        means, logs, below = np.split(vector, [a, a + b])
        inner = np.zeros((len(self._factors), d, d))
        i, j = strictly_lower(d)
        inner[:, i, j] = below.reshape(len(inner), -1)
        diagonal = np.arange(d)
        with np.errstate(over="ignore"):
            inner[:, diagonal, diagonal] = np.exp(logs.reshape(len(inner), d))
        return means, inner

    def gradient(self, vector: Floats, statistics: Floats) -> Floats:
        """Gradient of the log-likelihood (or posterior) at coordinates, by Fisher's identity.

        Parameters
        ----------
        vector : ndarray
            Coordinates at which the statistics were taken.
        statistics : ndarray, shape (K, S)
            Of `GaussianComponents.statistics`.
        """
        here = self.at(vector)
        assert here is not None
        k, d = here.means.shape
        _, inner = self._unpacked(vector)
        factors = self._factors @ inner
        whiten = np.linalg.inv(factors)
        first, second, count = here.posterior_moments(statistics)
        towards = np.einsum("ked,ke->kd", whiten, np.einsum("kde,ke->kd", whiten, first))
        means = np.einsum("ked,ke->kd", self._factors, towards)
        excess = whiten @ second @ whiten.transpose(0, 2, 1) - count[:, None, None] * np.eye(d)
        if len(inner) < k:
            excess = excess.sum(axis=0, keepdims=True)
        slope = np.linalg.inv(inner).transpose(0, 2, 1) @ excess
        i, j = strictly_lower(d)
        diagonal = np.arange(d)
        logs = slope[:, diagonal, diagonal] * inner[:, diagonal, diagonal]
        below = slope[:, i, j]
        if here.covariance_type == "spherical":
            logs = np.repeat(logs.mean(axis=1, keepdims=True), d, axis=1)
        if here.covariance_type in ("diag", "spherical"):
            below = np.zeros_like(below)
        return np.concatenate([means.ravel(), logs.ravel(), below.ravel()])

    def information(self, shares: Floats) -> Floats:
        """Diagonal of the complete-data information per sample, for shares N_k / N."""
        d = self.reference.means.shape[1]
        share = np.maximum(shares, _LEAST_SHARE)
        n = len(self._factors)
        shape = share if n == len(share) else share.sum(keepdims=True)
        return np.concatenate(
            [share.repeat(d), 2 * shape.repeat(d), shape.repeat(d * (d - 1) // 2)]
        )
