"""The arithmetic of a mixture as free functions: densities, responsibilities, likelihood.

Everything is computed in logarithms and in float64. Arrays of shape (n, K) may lie in either
memory order; those that are made here are Fortran-ordered (one contiguous run per component),
in which numpy works through few components fastest.
"""

from __future__ import annotations

import numpy as np

from brainseg.mixture.engine.arrays import Floats

LOG_2PI = float(np.log(2.0 * np.pi))
# Far from float64's limits (1e-308), so that responsibilities down to 1e-100 keep all digits.
_IN_RANGE = 1e-200


def log_gaussian(X: Floats, means: Floats, covariances: Floats) -> Floats:
    """Log-density of every Gaussian component at every sample, log N(x_n | mu_k, Sigma_k).

    Residuals are centred on each component before they are squared, so that data at a large
    offset lose no digits. Bishop, Pattern Recognition and Machine Learning (2006), eq. 2.43.

    Parameters
    ----------
    X : ndarray, shape (n, D)
        Intensities, one column per channel.
    means : ndarray, shape (K, D)
    covariances : ndarray, shape (K, D, D)
        Positive definite.

    Returns
    -------
    ndarray of float64, shape (n, K), Fortran-ordered

    Raises
    ------
    numpy.linalg.LinAlgError
        When a covariance is not positive definite.
    """
    n, d = X.shape
    if d == 1:
        variance = covariances[:, 0, 0]
        out: Floats = X[:, 0].astype(np.float64) - means
        out *= out
        out *= (-0.5 / variance)[:, None]
        out += (-0.5 * (LOG_2PI + np.log(variance)))[:, None]
        return out.T
    x = np.ascontiguousarray(X.T, dtype=np.float64)
    factors = np.linalg.cholesky(covariances)
    whiten = np.linalg.inv(factors)
    log_det = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    out = np.empty((len(means), n))
    for k, mean in enumerate(means):
        y = whiten[k] @ (x - mean[:, None])
        np.einsum("dn,dn->n", y, y, out=out[k])
    out *= -0.5
    out -= (0.5 * d * LOG_2PI + log_det)[:, None]
    return out.T


def log_joint(log_density: Floats, log_weights: Floats) -> Floats:
    """Joint log-density log p(x_n, z_n = k) = log pi_k + log p(x_n | k).

    Parameters
    ----------
    log_density : ndarray, shape (n, K)
    log_weights : ndarray, shape (K,) or (n, K)
        Logarithms of the mixing weights; one row per sample for spatial priors or a Markov
        random field.

    Returns
    -------
    ndarray, shape (n, K)
    """
    joint: Floats = log_density + log_weights
    return joint


def responsibilities(log_joint: Floats) -> tuple[Floats, Floats]:
    """E-step: posterior of the components and the marginal log-density, by a stable softmax.

    Parameters
    ----------
    log_joint : ndarray, shape (n, K)
        Rows may hold -inf (a component that is excluded), but not only -inf.

    Returns
    -------
    resp : ndarray of float64, shape (n, K)
        p(z_n = k | x_n); rows sum to 1.
    log_prob : ndarray of float64, shape (n,)
        log p(x_n) = log sum_k exp(log_joint[n, k]).
    """
    resp = np.array(log_joint, dtype=np.float64, order="K")
    log_prob = normalise(resp)
    return resp, log_prob


def normalise(joint: Floats) -> Floats:
    """Turn joint log-densities into responsibilities in place and return the log-density.

    Densities of samples that a mixture explains at all can be exponentiated as they are; only
    where one is out of range is the largest of each row taken out first.
    """
    with np.errstate(over="ignore", under="ignore"):
        density = np.exp(joint)
        total = density.sum(axis=1)
    if total.min() > _IN_RANGE and total.max() < 1.0 / _IN_RANGE:
        np.multiply(density, (1.0 / total)[:, None], out=joint)
        np.log(total, out=total)
        return np.asarray(total)
    top = joint.max(axis=1)
    joint -= top[:, None]
    np.exp(joint, out=joint)
    total = joint.sum(axis=1)
    joint *= (1.0 / total)[:, None]
    np.log(total, out=total)
    total += top
    return np.asarray(total)


def log_likelihood(log_prob: Floats, sample_weight: Floats | None = None) -> float:
    """Log-likelihood of the data: the (weighted) sum of log p(x_n), in nats."""
    if sample_weight is None:
        return float(log_prob.sum())
    return float((log_prob * sample_weight).sum())


def effective_counts(resp: Floats, sample_weight: Floats | None = None) -> Floats:
    """Return N_k, the (weighted) sum of the responsibilities of each component, shape (K,)."""
    counts: Floats = resp.sum(axis=0) if sample_weight is None else sample_weight @ resp
    return counts
