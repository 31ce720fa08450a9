"""Histograms of any dimension: exact where values are few, fine where not, and additive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg.mixture.engine.arrays import Floats, Ints, as_sample_weight, as_samples, upper

# 16-bit data have so many distinct values; up to here one channel is kept exactly.
EXACT_LIMIT = 65536
# Cells per typical spread of the data: 2048 in one channel keeps the log-likelihood to 1e-5 per
# sample down to components of a hundredth of the spread; several channels have more cells.
FINENESS = 2048
_TABLE = 1 << 22


@dataclass(frozen=True, eq=False)
class Histogram:
    """Occupied cells with their counts; the sum of two histograms is that of all samples.

    Cells are aligned to multiples of a power of two, so that histograms of different scans,
    machines or finenesses can be added.

    Attributes
    ----------
    values : ndarray of float64, shape (n_cells, D)
        Mean of the samples in each cell; the value itself where `width` is 0.
    counts : ndarray of float64, shape (n_cells,)
        Number, or summed weight, of the samples in each cell.
    scatter : ndarray of float64, shape (n_cells, D (D + 1) / 2), or None
        Covariance of the samples inside each cell (upper triangle); None where all is exact.
    width : ndarray of float64, shape (D,)
        Width of a cell in each channel; 0 for distinct values.
    """

    values: Floats
    counts: Floats
    scatter: Floats | None
    width: Floats

    @classmethod
    def from_samples(
        cls,
        X: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        exact_limit: int = EXACT_LIMIT,
        fineness: float = FINENESS,
    ) -> Histogram:
        """Count samples: exactly where they have few distinct values, in fine cells otherwise.

        Parameters
        ----------
        X : array_like, shape (n,) or (n, D)
        sample_weight : array_like, shape (n,), optional
        exact_limit : int
            Distinct values (rows) up to which the histogram is exact.
        fineness : float
            Cells per typical spread of each channel where it is not.
        """
        x = as_samples(X)
        weight = as_sample_weight(sample_weight, len(x))
        exact = _distinct(x, weight, exact_limit)
        if exact is not None:
            return cls(exact[0], exact[1], None, np.zeros(x.shape[1]))
        return cls._binned(x, weight, None, _widths(x, fineness))

    @classmethod
    def _binned(
        cls, x: NDArray[Any], weight: Floats | None, scatter: Floats | None, width: Floats
    ) -> Histogram:
        index, n = _cells(x, width)
        counts = np.bincount(index, weight, n).astype(np.float64)
        used = counts > 0
        safe = np.where(used, counts, 1.0)
        d = x.shape[1]
        values = np.empty((n, d))
        for c in range(d):
            column = x[:, c].astype(np.float64)
            # Relative to the cell's corner, so that an offset costs no digits.
            corner = np.floor(column / width[c]) * width[c]
            base = np.zeros(n)
            base[index] = corner
            column -= corner
            values[:, c] = base + _mean(index, column, weight, safe)
        i, j = upper(d)
        inside = np.empty((n, len(i)))
        for p, (a, b) in enumerate(zip(i, j, strict=True)):
            ra = x[:, a] - values[index, a]
            product = ra * ra if a == b else ra * (x[:, b] - values[index, b])
            if scatter is not None:
                product += scatter[:, p]
            inside[:, p] = _mean(index, product, weight, safe)
        return cls(values[used], counts[used], inside[used], width)

    def __add__(self, other: Histogram) -> Histogram:
        """Return the histogram of both sets of samples, as coarse as the coarser of the two."""
        if self.values.shape[1] != other.values.shape[1]:
            raise ValueError("histograms of different numbers of channels cannot be added")
        values = np.concatenate([self.values, other.values])
        counts = np.concatenate([self.counts, other.counts])
        width = np.maximum(self.width, other.width)
        if not width.any():
            exact = _distinct(values, counts, EXACT_LIMIT)
            if exact is not None:
                return Histogram(exact[0], exact[1], None, width)
            return Histogram._binned(values, counts, None, _widths(values, FINENESS))
        inside = np.concatenate([h.full_scatter() for h in (self, other)])
        return Histogram._binned(values, counts, inside, width)

    def __radd__(self, other: object) -> Histogram:
        """Let `sum` start from 0."""
        if other == 0:
            return self
        return NotImplemented

    def __len__(self) -> int:
        return len(self.values)

    @property
    def exact(self) -> bool:
        """Whether the cells are the distinct values themselves."""
        return self.scatter is None

    @property
    def total(self) -> float:
        """Number, or summed weight, of all samples."""
        return float(self.counts.sum())

    def full_scatter(self) -> Floats:
        """Return the covariance inside each cell, zeros where the histogram is exact."""
        d = self.values.shape[1]
        if self.scatter is not None:
            return self.scatter
        return np.zeros((len(self.values), d * (d + 1) // 2))


def _mean(index: Ints, values: Floats, weight: Floats | None, safe: Floats) -> Floats:
    total = np.bincount(index, values if weight is None else values * weight, len(safe))
    mean: Floats = total / safe
    return mean


def _distinct(x: NDArray[Any], weight: Floats | None, limit: int) -> tuple[Floats, Floats] | None:
    """Distinct rows in order with their counts, or None where there are more than `limit`."""
    step = max(1, len(x) // 4096)
    some = x[::step][:4096]
    # Mostly different in a small part: many more in the whole.
    if len(x) > limit and len(np.unique(some, axis=0)) > 0.9 * min(len(some), limit):
        return None
    if x.shape[1] > 1:
        values, inverse = _distinct_rows(x)
        counts = np.bincount(inverse, weight, len(values)).astype(np.float64)
    else:
        column, counts = _distinct_values(x[:, 0], weight)
        values = column[:, None]
    used = counts > 0
    if used.sum() > limit:
        return None
    return values[used].astype(np.float64), counts[used]


def _distinct_values(x: NDArray[Any], weight: Floats | None) -> tuple[NDArray[Any], Floats]:
    """Distinct values in order with their counts; whole numbers of a small range need no sort."""
    low, high = float(x.min()), float(x.max())
    if high - low < _TABLE and (x.dtype.kind in "iub" or not (x != np.floor(x)).any()):
        key = x.astype(np.int64) - int(low)
        counts = np.bincount(key, weight).astype(np.float64)
        return np.arange(len(counts)) + low, counts
    if weight is None:
        values, number = np.unique(x, return_counts=True)
        return values, number.astype(np.float64)
    values, inverse = np.unique(x, return_inverse=True)
    return values, np.bincount(inverse, weight, len(values)).astype(np.float64)


def _distinct_rows(x: NDArray[Any]) -> tuple[NDArray[Any], Ints]:
    """Like numpy's unique rows, by one integer code for each row."""
    code = np.zeros(len(x), dtype=np.int64)
    for c in range(x.shape[1]):
        column, inverse = np.unique(x[:, c], return_inverse=True)
        code = code * len(column) + inverse
        # Keep codes dense, so that no product overflows.
        code = np.unique(code, return_inverse=True)[1].astype(np.int64)
    n = int(code.max()) + 1
    first = np.empty(n, dtype=np.int64)
    first[code[::-1]] = np.arange(len(x) - 1, -1, -1)
    return x[first], code


def _widths(x: NDArray[Any], fineness: float) -> Floats:
    """Powers of two, about `fineness` to a robust standard deviation of each channel."""
    out = np.empty(x.shape[1])
    for c in range(x.shape[1]):
        some = x[:: max(1, len(x) // 65536), c].astype(np.float64)
        low, high = np.percentile(some, [15.87, 84.13])
        spread = (high - low) / 2
        if spread <= 0:
            spread = float(some.std()) or float(np.ptp(x[:, c].astype(np.float64))) or 1.0
        out[c] = 2.0 ** np.floor(np.log2(spread / fineness))
    return out


def _cells(x: NDArray[Any], width: Floats) -> tuple[Ints, int]:
    """Return the number of the cell of each row, and how many numbers there are."""
    code, size = np.zeros(len(x), dtype=np.int64), 1
    for c, w in enumerate(width):
        key = np.floor(x[:, c].astype(np.float64) / w).astype(np.int64)
        key -= key.min()
        span = int(key.max()) + 1
        if size * span > _TABLE:
            code, size = _dense(code)
            key, span = _dense(key)
        code = code * span + key
        size *= span
    return _dense(code) if size > _TABLE else (code, size)


def _dense(code: Ints) -> tuple[Ints, int]:
    used, inverse = np.unique(code, return_inverse=True)
    return inverse.astype(np.int64), len(used)
