"""Sampling from the marginal density of a Gaussian mixture, without ever choosing a component."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from brainseg.mixture.engine.arrays import Floats
from brainseg.mixture.engine.densities import LOG_2PI, responsibilities
from brainseg.mixture.engine.em import State
from brainseg.mixture.families.gaussian_components import GaussianComponents

# Halvings of an interval: it ends within float64's own spacing.
_HALVINGS = 64
# No double lies further out than this many standard deviations of a normal distribution.
_REACH = 39.0


def sample_marginal(state: State[GaussianComponents], n: int, rng: np.random.Generator) -> Floats:
    """Draw samples by inverting p(x)'s cumulative distribution, channel after channel.

    The first channel's marginal is a mixture in one channel; given it, so is the second's, with
    other weights; and so on (Rosenblatt, Ann. Math. Statist. 23 (1952) 470-472,
    doi:10.1214/aoms/1177729394).

    Returns
    -------
    ndarray of float64, shape (n, D)
    """
    means, covariances = state.components.means, state.components.covariances
    factors: Floats = np.linalg.cholesky(covariances).astype(np.float64)
    k, d = means.shape
    log_weights = np.repeat(state.log_weights[None], n, axis=0)
    x = np.empty((n, d))
    # Residuals of each component in its own axes, as far as they are known.
    white = np.zeros((n, k, d))
    for c in range(d):
        centre = means[:, c] + np.einsum("nke,ke->nk", white[:, :, :c], factors[:, c, :c])
        sd = factors[:, c, c]
        weights, _ = responsibilities(log_weights)
        x[:, c] = _inverse(rng.random(n), weights, centre, sd)
        white[:, :, c] = (x[:, c, None] - centre) / sd
        log_weights = log_weights - 0.5 * (white[:, :, c] ** 2 + LOG_2PI) - np.log(sd)
    return x


def _inverse(u: Floats, weights: Floats, centre: Floats, sd: Floats) -> Floats:
    """Solve sum_k w_k Phi((x - m_k) / s_k) = u for x, one equation per row, by bisection."""
    low, high = (centre - _REACH * sd).min(axis=1), (centre + _REACH * sd).max(axis=1)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        below = (weights * ndtr((middle[:, None] - centre) / sd)).sum(axis=1) < u
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    out: Floats = 0.5 * (low + high)
    return out
