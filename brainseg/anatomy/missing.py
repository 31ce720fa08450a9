"""Voxels of a brain that hold no measurement: zeros where tissue must be."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from brainseg.core.masking import bounding_box
from brainseg.core.volume import Array, BoolArray

LEAST_SHARE = 0.01
"""Smallest fraction of the mask, 0 to 1, that counts as missing data. Fewer zeros change a volume
by less than a repeated scan does, and noise and vessels have zeros of their own."""
BRIGHT = 0.5
"""Zeros are missing data, not dark tissue, where the voxels around them have more than this share
of the brain's median intensity."""


def find_missing(data: Array, mask: BoolArray) -> BoolArray | None:
    """Find islands and planes of the scan's lowest value inside a brain.

    Parameters
    ----------
    data : ndarray, shape (I, J, K)
    mask : ndarray of bool, shape (I, J, K)

    Returns
    -------
    ndarray of bool, shape (I, J, K), or None
        None where they are less than `LEAST_SHARE` of the mask.
    """
    box = bounding_box(mask, margin=1)
    inside, values = mask[box], data[box]
    low = data.min()
    empty = values == low
    total = np.count_nonzero(inside)
    if np.count_nonzero(empty & inside) < LEAST_SHARE * total:
        return None
    lost = np.zeros_like(empty)
    for axis in range(3):
        whole = np.moveaxis(empty, axis, 0).all(axis=(1, 2))
        # A plane between others; beyond the last that holds something the scan just ends.
        held = np.flatnonzero(~whole)
        whole[: held[0]] = whole[held[-1] :] = False
        np.moveaxis(lost, axis, 0)[whole] = True
    pieces, n = ndimage.label(empty & ~lost)
    if n:
        around = _surroundings(values - low, ~empty)
        numbers = np.arange(1, n + 1)
        bright = ndimage.mean(around, pieces, numbers) > BRIGHT * np.median(values[inside] - low)
        # What reaches out of the mask is the background or the dark space around the brain.
        out = ndimage.maximum(~inside, pieces, numbers).astype(bool)
        lost |= np.concatenate([[False], bright & ~out])[pieces]
    lost &= inside
    if np.count_nonzero(lost) < LEAST_SHARE * total:
        return None
    missing = np.zeros_like(mask)
    missing[box] = lost
    return missing


def _surroundings(values: Array, held: BoolArray) -> Array:
    """Mean of the measured voxels among each voxel's neighbours; 0 where there are none."""
    share = ndimage.uniform_filter(held.astype(np.float32), 3)
    total = ndimage.uniform_filter(np.where(held, values, 0).astype(np.float32), 3)
    return np.where(share > 0.01, total / np.maximum(share, np.float32(0.01)), 0)
