"""Covariance matrices: their four types, and the floor that keeps them from collapsing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg.config import COVARIANCE_TYPES
from brainseg.mixture.engine.arrays import Floats


def expand_covariances(
    covariances: ArrayLike, covariance_type: str, n_components: int, n_features: int
) -> Floats:
    """Write covariances of any type as K full matrices.

    Parameters
    ----------
    covariances : array_like
        ``full`` (K, D, D), ``tied`` (D, D), ``diag`` (K, D), ``spherical`` (K,).
    covariance_type : {"full", "tied", "diag", "spherical"}
    n_components, n_features : int

    Returns
    -------
    ndarray of float64, shape (K, D, D)

    Raises
    ------
    ValueError
        When shape and type do not agree.
    """
    cov = np.asarray(covariances, dtype=np.float64)
    k, d = n_components, n_features
    shapes = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}
    if covariance_type not in shapes:
        raise ValueError(f"covariance_type {covariance_type!r}; use one of {COVARIANCE_TYPES}")
    if cov.shape != shapes[covariance_type]:
        raise ValueError(
            f"{covariance_type} covariances have shape {shapes[covariance_type]}, got {cov.shape}"
        )
    if covariance_type == "full":
        return cov
    if covariance_type == "tied":
        return np.repeat(cov[None], k, axis=0)
    cov = cov[:, :, None] if covariance_type == "diag" else cov[:, None, None]
    diagonal: Floats = cov * np.eye(d)
    return diagonal


def compact_covariances(covariances: Floats, covariance_type: str) -> Floats:
    """Write K full matrices in the shape of their type; the inverse of `expand_covariances`."""
    if covariance_type == "tied":
        return np.array(covariances[0])
    if covariance_type == "diag":
        return np.asarray(np.diagonal(covariances, axis1=1, axis2=2), dtype=np.float64)
    if covariance_type == "spherical":
        return np.array(covariances[:, 0, 0])
    return covariances


# Beyond such a ratio of variances (a million in widths) a matrix cannot be inverted in float64
# with digits to spare.
_ROUNDEST = 1e-12


def _spectrum(covariances: Floats, floor: Floats) -> tuple[Floats, Floats]:
    """Smallest variance of each matrix in units of the floor, and the smallest one allowed."""
    root = np.sqrt(floor)
    values = np.linalg.eigvalsh(covariances / (root[:, None] * root))
    return values[:, 0], _least(values)


def _least(values: Floats) -> Floats:
    least: Floats = np.maximum(1.0, _ROUNDEST * values[:, -1])
    return least


def above_floor(covariances: Floats, floor: Floats) -> bool:
    """Whether no variance in any direction is below the floor, but for rounding."""
    low, least = _spectrum(covariances, floor)
    return bool((low > least * (1 - 1e-9)).all())


def on_floor(covariances: Floats, floor: Floats) -> NDArray[np.bool_]:
    """Tell which matrices lie on the floor in some direction, shape (K,)."""
    low, least = _spectrum(covariances, floor)
    return np.asarray(low <= least * (1 + 1e-6))


def raised(covariances: Floats, floor: Floats) -> Floats:
    """Raise eigenvalues (in units of the floor) to one, and to what can be inverted.

    This is the maximum of the likelihood under the constraint Sigma >= diag(floor): Won et al.,
    J. R. Stat. Soc. B 75 (2013) 427-450, doi:10.1111/j.1467-9868.2012.01049.x, section 2, so the
    likelihood still never falls.
    """
    if covariances.shape[1] == 1:
        return np.maximum(covariances, floor)
    root = np.sqrt(floor)
    values, vectors = np.linalg.eigh(covariances / (root[:, None] * root))
    least = _least(values)
    low = values[:, 0] < least
    if not low.any():
        return covariances
    out = covariances.copy()
    for k in np.flatnonzero(low):
        wide = vectors[k] * np.maximum(values[k], least[k])
        out[k] = (wide @ vectors[k].T) * (root[:, None] * root)
    return out
