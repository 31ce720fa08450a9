"""The bridge between a volume and the samples inside its mask."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from brainseg.core.volume import Array, BoolArray, Volume

Box = tuple[slice, slice, slice]


def largest_part(mask: BoolArray) -> tuple[BoolArray, float]:
    """Return the largest connected part of a mask (faces touch), and its share of the mask.

    Of equally large parts the first in C order is taken; an empty mask returns as it is, share 0.
    """
    parts, n = ndimage.label(mask)
    if n == 0:
        return mask, 0.0
    sizes = np.bincount(parts.ravel())[1:]
    largest = int(sizes.argmax())
    part: BoolArray = parts == 1 + largest
    return part, float(sizes[largest] / sizes.sum())


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


def bounding_box(mask: BoolArray, margin: int = 0) -> Box:
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


def widened(box: Box, volume: Volume, millimetres: tuple[float, ...]) -> Box:
    """Widen a box inside the grid by mm: left, right, back, front, below, above."""
    sides = []
    for axis, s in enumerate(box):
        zoom, end = volume.zooms[axis], volume.shape[axis]
        below, above = millimetres[2 * axis : 2 * axis + 2]
        sides.append(
            slice(max(0, s.start - round(below / zoom)), min(end, s.stop + round(above / zoom)))
        )
    return sides[0], sides[1], sides[2]


def near(mask: BoolArray, radius: float, zooms: tuple[float, ...]) -> BoolArray:
    """Dilate a mask by a ball.

    Parameters
    ----------
    mask : ndarray of bool, shape (I, J, K)
        Not empty.
    radius : float
        In mm.
    zooms : tuple of float
        Voxel sizes in mm.
    """
    out = np.zeros_like(mask)
    box = bounding_box(mask, margin=int(np.ceil(radius / min(zooms))) + 1)
    out[box] = ndimage.distance_transform_edt(~mask[box], sampling=zooms) <= radius
    return out


def closed(mask: BoolArray, radius: float, zooms: tuple[float, ...]) -> BoolArray:
    """Close a mask by a ball; what lies beyond the grid's edge is not in it.

    Parameters
    ----------
    mask : ndarray of bool, shape (I, J, K)
    radius : float
        In mm.
    zooms : tuple of float
        Voxel sizes in mm.
    """
    if not mask.any():
        return mask
    wide = near(mask, radius, zooms)
    box = bounding_box(wide)
    out = mask.copy()
    padded = np.pad(wide[box], 1)
    out[box] |= (ndimage.distance_transform_edt(padded, sampling=zooms) > radius)[1:-1, 1:-1, 1:-1]
    return out
