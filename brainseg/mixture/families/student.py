"""Student-t components: Gaussians with heavy tails, which outliers hardly move.

Peel & McLachlan, Statistics and Computing 10 (2000) 339-348, doi:10.1023/A:1008981510081.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, expit, gammaln, logit, polygamma

from brainseg.mixture.engine.arrays import Floats, Ints
from brainseg.mixture.engine.densities import LOG_2PI, log_gaussian
from brainseg.mixture.engine.em import State
from brainseg.mixture.engine.samples import Block, Samples
from brainseg.mixture.families.base import Mixture
from brainseg.mixture.families.frames import GaussianFrame
from brainseg.mixture.families.gaussian_components import GaussianComponents
from brainseg.mixture.families.starts import first_state, gaussian_template

# Below one there is no mean, above 200 nothing to be told from a Gaussian.
_DOF = (1.0, 200.0)
_FIRST_DOF = 10.0
# Accelerated steps see log(nu) through a logistic curve, of which the flat ends beyond this share
# are cut off: there a slope of the likelihood would look like none, and the climb end too early.
_FLAT = 1e-3
_SPAN = float(np.log(_DOF[1] / _DOF[0])) / (1 - 2 * _FLAT)


@dataclass(frozen=True, eq=False)
class StudentComponents:
    """K multivariate t distributions.

    Attributes
    ----------
    core : GaussianComponents
        Locations as means, scale matrices as covariances.
    dof : ndarray of float64, shape (K,)
        Degrees of freedom.
    """

    core: GaussianComponents
    dof: Floats

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return self.core.n_components

    @property
    def n_features(self) -> int:
        """Number of channels D."""
        return self.core.n_features

    @property
    def n_parameters(self) -> int:
        """Those of Gaussians, and the degrees of freedom."""
        return self.core.n_parameters + len(self.dof)

    def _distances(self, block: Block) -> tuple[Floats, Floats]:
        """Squared Mahalanobis distances, shape (b, K), and log-determinants, shape (K,)."""
        log_det = np.linalg.slogdet(self.core.covariances)[1]
        peak = -0.5 * (self.n_features * LOG_2PI + log_det)
        log_density = log_gaussian(block.x, self.core.means, self.core.covariances)
        return np.maximum(-2.0 * (log_density - peak), 0.0), log_det

    def log_density(self, block: Block) -> Floats:
        """Return log t(x_n | mu_k, Sigma_k, nu_k), shape (b, K)."""
        d, nu = self.n_features, self.dof
        square, log_det = self._distances(block)
        constant = (
            gammaln((nu + d) / 2) - gammaln(nu / 2) - 0.5 * (d * np.log(nu * np.pi) + log_det)
        )
        out: Floats = constant - 0.5 * (nu + d) * np.log1p(square / nu)
        return out

    def statistics(self, block: Block, resp: Floats) -> Floats:
        """Return counts, what the degrees of freedom need, and moments weighted by precision."""
        d, nu = self.n_features, self.dof
        u = (nu + d) / (nu + self._distances(block)[0])
        spread = (resp * (np.log(u) - u)).sum(axis=0)
        moments = self.core.statistics(replace(block, scatter=None), resp * u)
        return np.concatenate([resp.sum(axis=0)[:, None], spread[:, None], moments], axis=1)

    def maximise(self, statistics: Floats) -> StudentComponents:
        """Return the distributions of maximum expected likelihood."""
        count, spread, moments = statistics[:, 0], statistics[:, 1], statistics[:, 2:]
        first, second, located = self.core.posterior_moments(moments)
        core = self.core.moved(first, second, located, count)
        mean = spread / np.maximum(count, 1e-100)
        old = (self.dof + self.n_features) / 2
        dof = [_dof(m + digamma(o) - np.log(o)) for m, o in zip(mean, old, strict=True)]
        return StudentComponents(core, np.where(count > 0, dof, self.dof))

    def log_prior(self) -> float:
        """Return 0: there is no prior."""
        return 0.0

    def sample(self, counts: Ints, rng: np.random.Generator) -> Floats:
        """Draw counts[k] samples of each component: a Gaussian over the root of a chi-square."""
        index = np.repeat(np.arange(len(counts)), counts)
        gaussian = self.core.sample(counts, rng) - self.core.means[index]
        shrink = np.sqrt(rng.chisquare(self.dof[index]) / self.dof[index])
        draws: Floats = self.core.means[index] + gaussian / shrink[:, None]
        return draws

    def change(self, other: StudentComponents) -> float:
        """Largest difference of a parameter; degrees of freedom count by their logarithm."""
        dof = np.abs(np.log(self.dof / other.dof)).max()
        return max(self.core.change(other.core), float(dof))

    def frame(self) -> StudentFrame:
        """Return coordinates around these distributions for accelerated steps."""
        return StudentFrame(self)

    def sort_keys(self) -> Floats:
        """Return the locations of the first channel."""
        return self.core.sort_keys()

    def permuted(self, order: Ints) -> StudentComponents:
        """Return the components in another order."""
        return StudentComponents(self.core.permuted(order), self.dof[order])

    def collapsed(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Tell which components lie on the floor in some direction."""
        return self.core.collapsed()

    def reseeded(self, k: int, x: Floats) -> StudentComponents:
        """Return components of which number k starts afresh."""
        dof = self.dof.copy()
        dof[k] = _FIRST_DOF
        return StudentComponents(self.core.reseeded(k, x), dof)


def _dof(known: float) -> float:
    """Solve log(nu/2) - digamma(nu/2) + 1 + known = 0; the left side falls with nu."""

    def equation(nu: float) -> float:
        return float(np.log(nu / 2) - digamma(nu / 2) + 1 + known)

    low, high = _DOF
    if equation(low) <= 0:
        return low
    if equation(high) >= 0:
        return high
    return float(brentq(equation, low, high, xtol=1e-10))


@dataclass(frozen=True, eq=False)
class StudentFrame:
    """Coordinates of the Gaussians' kind, and log(nu) by a logistic curve between its bounds."""

    reference: StudentComponents

    @cached_property
    def _core(self) -> GaussianFrame[GaussianComponents]:
        return self.reference.core.frame()

    @cached_property
    def _origin(self) -> Floats:
        return np.asarray(logit(_FLAT + np.log(self.reference.dof / _DOF[0]) / _SPAN))

    def _shares(self, vector: Floats) -> Floats:
        share = expit(self._origin + vector[-self.reference.n_components :])
        return np.asarray(np.clip(share, _FLAT, 1 - _FLAT))

    @staticmethod
    def _dof(share: Floats) -> Floats:
        dof: Floats = _DOF[0] * np.exp(_SPAN * (share - _FLAT))
        return dof

    def at(self, vector: Floats) -> StudentComponents | None:
        """Return the components at coordinates, or None where a variance is below the floor."""
        core = self._core.at(vector[: -self.reference.n_components])
        if core is None:
            return None
        return StudentComponents(core, self._dof(self._shares(vector)))

    def gradient(self, vector: Floats, statistics: Floats) -> Floats:
        """Gradient of the log-likelihood at coordinates, by Fisher's identity."""
        k, d = self.reference.n_components, self.reference.n_features
        count, spread = statistics[:, 0], statistics[:, 1]
        moments = np.concatenate([count[:, None], statistics[:, 3:]], axis=1)
        core = self._core.gradient(vector[:-k], moments)
        share = self._shares(vector)
        nu = self._dof(share)
        after = digamma((nu + d) / 2) - np.log((nu + d) / 2)
        slope = 0.5 * (count * (np.log(nu / 2) + 1 - digamma(nu / 2) + after) + spread)
        return np.concatenate([core, slope * nu * _SPAN * share * (1 - share)])

    def information(self, shares: Floats) -> Floats:
        """Diagonal of the complete-data information per sample."""
        nu, origin = self.reference.dof, expit(self._origin)
        per_nu = 0.5 * (0.5 * polygamma(1, nu / 2) - 1 / nu)
        slope = nu * _SPAN * origin * (1 - origin)
        share = np.maximum(shares, 1e-5)
        return np.concatenate([self._core.information(shares), share * per_nu * slope**2])


class StudentMixture(Mixture[StudentComponents]):
    """Mixture of K Student-t distributions in D channels; options as of `GaussianMixture`.

    Attributes
    ----------
    weights_, means_, covariances_ : ndarray
        Mixing weights (K,), locations (K, D) and scale matrices (K, D, D).
    dof_ : ndarray, shape (K,)
        Degrees of freedom, between 1 and 200.
    """

    def _first(self, samples: Samples, index: Ints) -> State[StudentComponents]:
        gaussian = first_state(samples, index, gaussian_template(samples, index))
        dof = np.full(self.n_components, _FIRST_DOF)
        return State(gaussian.log_weights, StudentComponents(gaussian.components, dof))

    def _given(self, samples: Samples) -> State[StudentComponents]:
        state: Any = getattr(self.init, "_state", None)
        if state is None or not isinstance(state.components, StudentComponents):
            raise ValueError("a mixture of Student-t distributions starts from another one")
        return State(state.log_weights, state.components)

    def _publish(self, components: StudentComponents) -> None:
        self.means_: Floats = components.core.means
        self.covariances_: Floats = components.core.covariances
        self.dof_: Floats = components.dof
