"""Samples as EM sees them: weighted rows, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.mixture.engine.arrays import Floats, Ints, upper

# Rows of one block: with ten components its arrays stay inside a core's second-level cache.
# The partition is fixed, hence sums are formed in the same order on every machine.
BLOCK = 8192


@dataclass(eq=False)
class Block:
    """Some rows, ready for arithmetic.

    Attributes
    ----------
    x : ndarray of float64, shape (b, D), Fortran-ordered
    weight : ndarray of float64, shape (b,)
    scatter : ndarray of float64, shape (b, D (D + 1) / 2), or None
        Covariance inside each row where a row stands for many samples: the upper triangle.
    offset : ndarray of float64, shape (b, K), or None
        Added to the joint log-density: 0 or -inf for labels, log pi_k(x_n) for spatial priors.
    """

    x: Floats
    weight: Floats
    scatter: Floats | None = None
    offset: Floats | None = None
    _features: tuple[Floats, Floats] | None = field(default=None, repr=False)

    def features(self, centre: Floats) -> Floats:
        """Return 1, x and the upper triangle of x x' about a centre, shape (1 + D + P, b).

        Gaussian log-densities are linear in them, and so are the moments. Where a row stands for
        many samples they are the mean over these.
        """
        if self._features is None or self._features[0] is not centre:
            d = self.x.shape[1]
            i, j = upper(d)
            out = np.empty((1 + d + len(i), len(self.x)))
            out[0] = 1.0
            np.subtract(self.x.T, centre[:, None], out=out[1 : 1 + d])
            for row, (a, b) in enumerate(zip(i, j, strict=True)):
                np.multiply(out[1 + a], out[1 + b], out=out[1 + d + row])
            if self.scatter is not None:
                out[1 + d :] += self.scatter.T
            self._features = centre, out
        return self._features[1]


@dataclass(frozen=True, eq=False)
class Samples:
    """Weighted rows with what is known of them.

    Attributes
    ----------
    x : ndarray, shape (n, D)
        Of any real dtype; converted block by block.
    n_components : int
    weight : ndarray of float64, shape (n,), or None
        How many samples each row stands for; None for one each.
    scatter : ndarray of float64, shape (n, D (D + 1) / 2), or None
        Covariance of the samples inside a row (upper triangle).
    labels : ndarray of int64, shape (n,), or None
        Known component, -1 where unknown.
    log_mixing : ndarray, shape (n, K), or None
        Logarithms of mixing weights of every row; replaces the mixture's own weights.
    """

    x: NDArray[Any]
    n_components: int
    weight: Floats | None = None
    scatter: Floats | None = None
    labels: Ints | None = None
    log_mixing: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_features(self) -> int:
        """Number of channels D."""
        return int(self.x.shape[1])

    @cached_property
    def total(self) -> float:
        """Number of samples that the rows stand for."""
        return float(len(self.x)) if self.weight is None else float(self.weight.sum())

    @cached_property
    def _only_block(self) -> Block:
        return self._block(slice(None))

    def blocks(self) -> Iterator[Block]:
        """Yield the rows block by block, always in the same partition."""
        if len(self.x) <= BLOCK:
            yield self._only_block
            return
        for start in range(0, len(self.x), BLOCK):
            yield self._block(slice(start, start + BLOCK))

    def _block(self, rows: slice) -> Block:
        x = np.array(self.x[rows].T, dtype=np.float64, order="C").T
        weight = np.ones(len(x)) if self.weight is None else self.weight[rows]
        scatter = None if self.scatter is None else self.scatter[rows]
        return Block(x, weight, scatter, self._offset(rows))

    def _offset(self, rows: slice) -> Floats | None:
        offset = None
        if self.log_mixing is not None:
            offset = np.array(self.log_mixing[rows], dtype=np.float64, order="F")
        if self.labels is not None:
            known = self.labels[rows]
            clamp = np.zeros((self.n_components, len(known)))
            clamp[:, known >= 0] = -np.inf
            clamp[known[known >= 0], np.flatnonzero(known >= 0)] = 0.0
            offset = clamp.T if offset is None else offset + clamp.T
        return offset

    def thinned(self, rows: Ints) -> Samples:
        """Return some of the rows."""
        return replace(
            self,
            x=self.x[rows],
            weight=None if self.weight is None else self.weight[rows],
            scatter=None if self.scatter is None else self.scatter[rows],
            labels=None if self.labels is None else self.labels[rows],
            log_mixing=None if self.log_mixing is None else self.log_mixing[rows],
        )
