"""Mixtures of Gaussians as users meet them."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainseg.config import COVARIANCE_TYPES
from brainseg.errors import DataError
from brainseg.mixture.engine.arrays import Floats, Ints
from brainseg.mixture.engine.covariances import (
    compact_covariances,
    expand_covariances,
)
from brainseg.mixture.engine.em import State
from brainseg.mixture.engine.estimator import RandomState
from brainseg.mixture.engine.prior import ConjugatePrior
from brainseg.mixture.engine.samples import Samples
from brainseg.mixture.families.base import Mixture
from brainseg.mixture.families.gaussian_components import GaussianComponents
from brainseg.mixture.families.sampling import sample_marginal
from brainseg.mixture.families.starts import first_state, gaussian_template, spread


class GaussianMixture(Mixture[GaussianComponents]):
    """Mixture of K Gaussians in D channels, p(x) = sum_k pi_k N(x | mu_k, Sigma_k), by EM.

    Parameters
    ----------
    n_components : int
        K.
    covariance_type : {"full", "tied", "diag", "spherical"}
    init : {"kmeans", "random", "quantile"} or GaussianMixture
        Where EM starts; a fitted mixture (or any object with `weights_`, `means_` and
        `covariances_` of the same type) is taken as it is.
    n_init : int
        Starts from different seeds; the best likelihood is kept, as EM finds local maxima.
    tol : float
        See `convergence`.
    convergence : {"likelihood", "parameters"}
        Stop when a cycle gains less than `tol` nats per sample, or when no parameter moves by
        more than `tol` (weights absolutely, others in typical standard deviations).
    max_iter : int
        Sweeps over the data at most; 0 returns the start.
    prior : ConjugatePrior, optional
        Fit the maximum of the posterior instead of the likelihood (MAP-EM). Its components
        belong to those of the start, in order of the first channel's mean.
    accelerate : bool
        Go on with quasi-Newton steps after the first EM steps; the objective still never falls.
    min_variance : float, optional
        Floor of every variance; by default a millionth of a typical component's, and that of the
        rounding step of rounded data.
    random_state : int, RandomState, Generator or None
        Seed of the starts and of `sample`; a generator is drawn from, None is another seed each
        time.

    Attributes
    ----------
    weights_ : ndarray, shape (K,)
    means_ : ndarray, shape (K, D)
        In order of the first channel unless `labels` or `log_mixing` name the components.
    covariances_ : ndarray
        Shape by type: full (K, D, D), tied (D, D), diag (K, D), spherical (K,).
    converged_ : bool
    n_iter_ : int
        Sweeps over the data.
    history_ : tuple of float
        Log-likelihood per sample (with a prior: plus the prior's log-density / n) of every
        mixture on the way, the start first and the one returned last. Never falls.
    log_likelihood_ : float
        The same of the mixture returned.
    order_ : ndarray of int, shape (K,)
        Which component of the start each one grew from: components are sorted at the end.
    events_ : tuple of str
        Components that collapsed or emptied and were started afresh.
    """

    def __init__(
        self,
        n_components: int = 6,
        *,
        covariance_type: str = "full",
        init: Any = "kmeans",
        n_init: int = 1,
        tol: float = 1e-8,
        convergence: str = "likelihood",
        max_iter: int = 10_000,
        prior: ConjugatePrior | None = None,
        accelerate: bool = True,
        min_variance: float | None = None,
        random_state: RandomState = 0,
    ) -> None:
        super().__init__(
            n_components,
            init=init,
            n_init=n_init,
            tol=tol,
            convergence=convergence,
            max_iter=max_iter,
            accelerate=accelerate,
            random_state=random_state,
        )
        self.covariance_type = covariance_type
        self.prior = prior
        self.min_variance = min_variance

    def _check_params(self) -> None:
        super()._check_params()
        if self.covariance_type not in COVARIANCE_TYPES:
            raise DataError(
                f"`covariance_type`: {self.covariance_type!r} given; use one of {COVARIANCE_TYPES}"
            )
        if self.prior is not None and len(self.prior.means) != self.n_components:
            raise DataError(
                f"`prior`: has {len(self.prior.means)} components, the mixture {self.n_components}"
            )

    def _first(self, samples: Samples, index: Ints) -> State[GaussianComponents]:
        template = gaussian_template(
            samples, index, self.covariance_type, self.min_variance, self.prior
        )
        return first_state(samples, index, template)

    def _given(self, samples: Samples) -> State[GaussianComponents]:
        k, d = self.n_components, samples.n_features
        weights = np.asarray(self.init.weights_, dtype=np.float64)
        means = np.asarray(self.init.means_, dtype=np.float64).reshape(-1, d)
        if weights.shape != (k,) or means.shape != (k, d):
            raise DataError(
                f"the start has {len(weights)} components in {means.shape[1]} channels, "
                f"the mixture {k} in {d}"
            )
        cov = expand_covariances(self.init.covariances_, self.covariance_type, k, d)
        variance = np.diagonal(cov, axis1=1, axis2=2)
        unit = np.sqrt(weights @ variance / weights.sum())
        _, floor = spread(samples, np.zeros(len(samples), dtype=np.int64))
        floor = np.minimum(floor, 1e-6 * unit**2)
        if self.min_variance is not None:
            floor = np.full(d, self.min_variance)
        centre = weights @ means / weights.sum()
        components = GaussianComponents(
            means, cov, self.covariance_type, unit, floor, centre, self.prior
        )
        with np.errstate(divide="ignore"):
            log_weights = np.maximum(np.log(weights / weights.sum()), -700.0)
        return State(log_weights, components)

    def _publish(self, components: GaussianComponents) -> None:
        self.means_: Floats = components.means
        self.covariances_: Floats = compact_covariances(
            components.covariances, self.covariance_type
        )

    def sample_marginal(self, n_samples: int = 1, random_state: RandomState = None) -> Floats:
        """Draw from p(x) alone, shape (n, D): no component is chosen on the way."""
        return sample_marginal(self.state, n_samples, self._generator(random_state))
