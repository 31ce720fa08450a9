"""The bridge between a volume and the samples inside its mask."""

from __future__ import annotations

import numpy as np

from brainseg.volume import Array, BoolArray


def extract(data: Array, mask: BoolArray) -> Array:
    """Return the values inside the mask as samples, in C order of the grid.

    Parameters
    ----------
    data : ndarray, shape (I, J, K) or (I, J, K, C)
    mask : ndarray of bool, shape (I, J, K)

    Returns
    -------
    ndarray, shape (n_samples,) or (n_samples, C)
    """
    return data[mask]


def scatter(samples: Array, mask: BoolArray, fill: float = 0) -> Array:
    """Put samples back on the grid; the inverse of `extract` inside the mask.

    Parameters
    ----------
    samples : ndarray, shape (n_samples,) or (n_samples, C)
    mask : ndarray of bool, shape (I, J, K)
    fill : scalar
        Value outside the mask.

    Returns
    -------
    ndarray, shape (I, J, K) or (I, J, K, C), of the samples' dtype
    """
    out = np.full(mask.shape + samples.shape[1:], fill, dtype=samples.dtype)
    out[mask] = samples
    return out


def bounding_box(mask: BoolArray, margin: int = 0) -> tuple[slice, slice, slice]:
    """Return the smallest box around the mask, widened by `margin` voxels inside the grid.

    Raises
    ------
    ValueError
        When the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no bounding box")
    sides = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        lo, hi = max(int(hit[0]) - margin, 0), min(int(hit[-1]) + 1 + margin, mask.shape[axis])
        sides.append(slice(lo, hi))
    return sides[0], sides[1], sides[2]
