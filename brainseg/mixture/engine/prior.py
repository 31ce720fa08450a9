"""Conjugate priors for MAP-EM: normal-inverse-Wishart on components, Dirichlet on weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, multigammaln

from brainseg.mixture.engine.arrays import Floats, Ints


@dataclass(frozen=True, eq=False)
class ConjugatePrior:
    """Prior of a Gaussian mixture under which no component can collapse or vanish.

    For each component Sigma_k ~ IW(scale_k, dof_k), mu_k | Sigma_k ~ N(means_k, Sigma_k / kappa_k),
    and pi ~ Dirichlet(alpha). Fraley & Raftery, J. Classification 24 (2007) 155-181,
    doi:10.1007/s00357-007-0004-5. Covariance types other than full use the same density,
    restricted to matrices of the type.

    Attributes
    ----------
    means : ndarray, shape (K, D)
        Expected means (intensity).
    kappa : ndarray, shape (K,)
        Strength of the means in samples; 0 leaves them free.
    scale : ndarray, shape (K, D, D)
        Scatter matrices (intensity squared), positive definite.
    dof : ndarray, shape (K,)
        Degrees of freedom: strength of the covariances in samples. The prior's mode is
        ``scale / (dof + D + 2)``.
    alpha : ndarray, shape (K,)
        Concentration of the mixing weights, at least 1; 1 is flat.
    """

    means: Floats
    kappa: Floats
    scale: Floats
    dof: Floats
    alpha: Floats

    def __post_init__(self) -> None:
        k, d = self.means.shape
        if self.scale.shape != (k, d, d):
            raise ValueError(f"scale has shape {self.scale.shape}, means ask for {(k, d, d)}")
        for name in ("kappa", "dof", "alpha"):
            if getattr(self, name).shape != (k,):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, needs ({k},)")
        if self.kappa.min() < 0 or self.dof.min() < 0 or self.alpha.min() < 1:
            raise ValueError("kappa and dof must be at least 0, and alpha at least 1")

    @classmethod
    def around(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        *,
        mean_strength: ArrayLike,
        covariance_strength: ArrayLike,
        weight_strength: float = 0.0,
    ) -> ConjugatePrior:
        """Return the prior whose mode is a known mixture, as if so many samples had been seen.

        Parameters
        ----------
        weights : array_like, shape (K,)
        means : array_like, shape (K, D)
        covariances : array_like, shape (K, D, D)
        mean_strength, covariance_strength : array_like, shape () or (K,)
            In samples, for each component.
        weight_strength : float
            In samples, for all components together.
        """
        mu = np.asarray(means, dtype=np.float64)
        k, d = mu.shape
        dof = np.broadcast_to(np.asarray(covariance_strength, dtype=np.float64), (k,)).copy()
        kappa = np.broadcast_to(np.asarray(mean_strength, dtype=np.float64), (k,)).copy()
        scale = np.asarray(covariances, dtype=np.float64) * (dof + d + 2)[:, None, None]
        pi = np.asarray(weights, dtype=np.float64)
        return cls(mu, kappa, scale, dof, 1.0 + weight_strength * pi / pi.sum())

    @classmethod
    def weak(cls, mean: ArrayLike, covariance: ArrayLike, n_components: int) -> ConjugatePrior:
        """Return the weakly informative default of Fraley & Raftery (2007), section 3.2.

        Parameters
        ----------
        mean : array_like, shape (D,)
            Mean of all data.
        covariance : array_like, shape (D, D)
            Covariance of all data; each component expects its share, covariance / K^(2/D).
        n_components : int
        """
        mu = np.asarray(mean, dtype=np.float64)
        d, k = len(mu), n_components
        scale = np.asarray(covariance, dtype=np.float64) / k ** (2.0 / d)
        return cls(
            np.repeat(mu[None], k, axis=0),
            np.full(k, 0.01),
            np.repeat(scale[None], k, axis=0),
            np.full(k, d + 2.0),
            np.ones(k),
        )

    def log_components(self, means: Floats, covariances: Floats) -> float:
        """Log-density of means (K, D) and covariances (K, D, D), summed over components.

        The normalising constant of the means is left out where kappa is 0, that of the
        covariances where dof <= D - 1: the prior is flat or improper there.
        """
        d = means.shape[1]
        _, log_det = np.linalg.slogdet(covariances)
        _, log_det_scale = np.linalg.slogdet(self.scale)
        precision = np.linalg.inv(covariances)
        delta = means - self.means
        distance = np.einsum("kd,kde,ke->k", delta, precision, delta)
        out = -0.5 * (self.dof + d + 2) * log_det
        out -= 0.5 * np.einsum("kde,ked->k", self.scale, precision)
        out -= 0.5 * self.kappa * distance
        flat = self.kappa == 0
        out += 0.5 * d * np.log(np.where(flat, 1.0, self.kappa) / (2 * np.pi)) * ~flat
        proper = self.dof > d - 1
        dof = np.where(proper, self.dof, d)
        constant = 0.5 * dof * (log_det_scale - d * np.log(2.0)) - multigammaln(dof / 2, d)
        return float((out + np.where(proper, constant, 0.0)).sum())

    def log_weights(self, log_weights: Floats) -> float:
        """Log-density of mixing weights given by their logarithms, shape (K,)."""
        constant = gammaln(self.alpha.sum()) - gammaln(self.alpha).sum()
        counted = self.alpha > 1
        return float(constant + ((self.alpha - 1)[counted] * log_weights[counted]).sum())

    def permuted(self, order: Ints) -> ConjugatePrior:
        """Return the prior with its components in another order."""
        return ConjugatePrior(
            self.means[order],
            self.kappa[order],
            self.scale[order],
            self.dof[order],
            self.alpha[order],
        )
