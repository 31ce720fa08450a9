"""Checks of the arrays that come in: shape, finiteness, and weights that make sense."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def as_samples(X: ArrayLike) -> NDArray[Any]:
    """Return data as a matrix of samples; the dtype is kept, so that nothing large is copied.

    Parameters
    ----------
    X : array_like, shape (n_samples,) or (n_samples, n_features)

    Returns
    -------
    ndarray, shape (n_samples, n_features)

    Raises
    ------
    DataError
        When there are no samples, the shape is wrong, or a value is not finite.
    """
    if hasattr(X, "toarray"):
        raise DataError("sparse data is not supported: give a dense array, X.toarray()")
    data = np.asarray(X)
    if data.dtype.kind == "O":
        data = _as_numbers(data)
    if data.dtype.kind == "c":
        raise DataError("Complex data not supported: a mixture needs real numbers")
    if data.ndim == 1:
        data = data[:, None]
    if data.ndim != 2:
        raise DataError(
            f"a mixture needs samples as (n_samples, n_features), got an array of shape "
            f"{np.shape(X)}; reshape it"
        )
    if data.size == 0:
        what = "feature" if data.shape[1] == 0 else "sample"
        raise DataError(
            f"0 {what}(s) (shape={data.shape}) while a minimum of 1 is required; widen the mask"
        )
    if data.dtype.kind not in "fiub":
        raise DataError(f"a mixture needs real numbers, got {data.dtype}; convert them first")
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        bad = int((~np.isfinite(data)).any(axis=1).sum())
        raise DataError(
            f"{bad} of {len(data)} samples are not finite (NaN or infinite); leave them out"
        )
    return data


def _as_numbers(data: NDArray[Any]) -> NDArray[Any]:
    """Return an array of Python objects as float64.

    Raises
    ------
    DataError
        When an object is no number.
    """
    try:
        return data.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"a mixture needs real numbers: {error}") from error


def as_sample_weight(sample_weight: ArrayLike | None, n: int) -> Floats | None:
    """Return the weights of samples as float64, or None where all weigh one.

    Raises
    ------
    DataError
        When they do not fit the samples, are negative, not finite, or all zero.
    """
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n,):
        raise DataError(f"sample_weight has shape {weight.shape}, {n} samples need ({n},)")
    if not np.isfinite(weight).all() or weight.min() < 0 or weight.sum() <= 0:
        raise DataError("sample_weight must be finite, not negative and not all zero")
    return weight


def as_labels(labels: ArrayLike | None, n: int, n_components: int) -> Ints | None:
    """Return known components of samples as int64; -1 is unknown.

    Raises
    ------
    DataError
        When they do not fit the samples or name a component that does not exist.
    """
    if labels is None:
        return None
    known = np.asarray(labels)
    if known.shape != (n,) or known.dtype.kind not in "iu":
        raise DataError(
            f"labels must be {n} integers, got {known.dtype} of shape {known.shape}; "
            f"use 0 to {n_components - 1}, and -1 where unknown"
        )
    known = known.astype(np.int64)
    if known.min() < -1 or known.max() >= n_components:
        raise DataError(
            f"labels run from {known.min()} to {known.max()}; {n_components} components allow "
            f"0 to {n_components - 1}, and -1 where unknown"
        )
    return known


@lru_cache(maxsize=64)
def upper(d: int) -> tuple[Ints, Ints]:
    """Return row and column indices of the upper triangle of a D x D matrix."""
    i, j = np.triu_indices(d)
    return i.astype(np.int64), j.astype(np.int64)


@lru_cache(maxsize=64)
def strictly_lower(d: int) -> tuple[Ints, Ints]:
    """Return row and column indices of what lies below the diagonal of a D x D matrix."""
    i, j = np.tril_indices(d, -1)
    return i.astype(np.int64), j.astype(np.int64)
