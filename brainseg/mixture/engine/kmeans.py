"""K-means on weighted rows: k-means++ seeds, restarts, the same result under the same seed.

Lloyd, IEEE Trans. Inf. Theory 28 (1982) 129-137, doi:10.1109/TIT.1982.1056489; Arthur &
Vassilvitskii, SODA 2007, 1027-1035 (k-means++).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from brainseg.errors import DataError
from brainseg.mixture.engine.arrays import Floats, Ints, as_sample_weight, as_samples

# K-means works on distances between all rows and centres: so many rows at a time.
_BLOCK = 65536


@dataclass(frozen=True, eq=False)
class Clusters:
    """The result of K-means.

    Attributes
    ----------
    centres : ndarray of float64, shape (K, D)
        In order of the first channel.
    labels : ndarray of int64, shape (n,)
        Nearest centre of each row; the first of equally near ones.
    inertia : float
        Weighted sum of squared distances to the nearest centre.
    n_iter : int
        Lloyd's cycles of the best restart.
    converged : bool
    """

    centres: Floats
    labels: Ints
    inertia: float
    n_iter: int
    converged: bool


def kmeans(
    X: ArrayLike,
    n_clusters: int,
    *,
    sample_weight: ArrayLike | None = None,
    n_init: int = 4,
    max_iter: int = 300,
    random_state: int = 0,
) -> Clusters:
    """Cluster rows around `n_clusters` means.

    Parameters
    ----------
    X : array_like, shape (n,) or (n, D)
        Samples, or the cells of a histogram with their counts as weights.
    n_clusters : int
    sample_weight : array_like, shape (n,), optional
    n_init : int
        Restarts from different seeds; the one of least inertia is returned.
    max_iter : int
        Lloyd's cycles at most; they stop when no row changes its cluster.
    random_state : int

    Raises
    ------
    DataError
        When there are fewer distinct rows than clusters.
    """
    raw = as_samples(X)
    weight = as_sample_weight(sample_weight, len(raw))
    if weight is None:
        weight = np.ones(len(raw))
    shift = raw.astype(np.float64).mean(axis=0) if len(raw) < _BLOCK else raw[0].astype(float)
    x = raw.astype(np.float64) - shift
    rng = np.random.default_rng(random_state)
    best: Clusters | None = None
    for _ in range(n_init):
        run = _lloyd(x, weight, _plus_plus(x, weight, n_clusters, rng), max_iter)
        # A gain within rounding is none, lest the restart depend on the last bit.
        if best is None or run.inertia < best.inertia * (1 - 1e-9):
            best = run
    assert best is not None
    order = np.argsort(best.centres[:, 0], kind="stable")
    rank = np.empty(n_clusters, dtype=np.int64)
    rank[order] = np.arange(n_clusters)
    return Clusters(
        best.centres[order] + shift, rank[best.labels], best.inertia, best.n_iter, best.converged
    )


def _plus_plus(x: Floats, weight: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Draw centres one by one, with probability proportional to the squared distance so far."""
    centres = np.empty((k, x.shape[1]))
    chance = weight
    distance = np.full(len(x), np.inf)
    for c in range(k):
        share = np.cumsum(chance)
        if share[-1] <= 0:
            raise DataError(
                f"the data hold {c} distinct samples, {k} components need at least as many; "
                f"use fewer components"
            )
        row = int(np.searchsorted(share, rng.random() * share[-1], side="right"))
        row = min(row, len(x) - 1)
        centres[c] = x[row]
        distance = np.minimum(distance, ((x - centres[c]) ** 2).sum(axis=1))
        chance = weight * distance
    return centres


def _lloyd(x: Floats, weight: Floats, centres: Floats, max_iter: int) -> Clusters:
    k = len(centres)
    labels = np.full(len(x), -1)
    converged = False
    n_iter = 0
    while n_iter < max_iter and not converged:
        n_iter += 1
        nearest, distance = _nearest(x, centres)
        converged = bool(np.array_equal(nearest, labels))
        labels = nearest
        if converged:
            break
        counts = np.bincount(labels, weight, k)
        for d in range(x.shape[1]):
            total = np.bincount(labels, weight * x[:, d], k)
            centres[:, d] = np.where(counts > 0, total / np.maximum(counts, 1e-300), centres[:, d])
        for c in np.flatnonzero(counts == 0):
            # An empty cluster moves to the row that is worst served.
            worst = int(np.argmax(weight * distance))
            centres[c], distance[worst] = x[worst], 0.0
    nearest, distance = _nearest(x, centres)
    return Clusters(centres, nearest, float((weight * distance).sum()), n_iter, converged)


def _nearest(x: Floats, centres: Floats) -> tuple[Ints, Floats]:
    labels = np.empty(len(x), dtype=np.int64)
    distance = np.empty(len(x))
    for start in range(0, len(x), _BLOCK):
        part = slice(start, start + _BLOCK)
        columns = np.ascontiguousarray(x[part].T)
        square = np.zeros((len(centres), columns.shape[1]))
        for d in range(x.shape[1]):
            residual = columns[d] - centres[:, d][:, None]
            residual *= residual
            square += residual
        labels[part] = square.argmin(axis=0)
        distance[part] = square.min(axis=0)
    return labels, distance
