"""An estimate of the total intracranial volume from the brain mask."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from brainseg.core.masking import bounding_box, closed
from brainseg.core.volume import BoolArray

RADIUS_MM = 10.0
"""Bridges the sylvian and interhemispheric fissures and every sulcus; the next larger hollow, the
angle between cerebrum and cerebellum behind, is bridged in part."""
GRID_MM = 2.0
WHAT = (
    "estimate of the total intracranial volume: the brain mask (brain and the CSF inside the "
    f"dura) closed by a ball of {RADIUS_MM:g} mm, holes filled; the inner skull itself is not "
    "measured, and a mask that was given without its CSF makes the estimate too small"
)


def intracranial_ml(mask: BoolArray, zooms: tuple[float, float, float]) -> float:
    """Estimate the total intracranial volume in mL: the mask, its fissures closed.

    The mask's own volume is counted on its grid; what the closing adds is measured at about 2 mm,
    since the ball is wide beside a voxel.

    Parameters
    ----------
    mask : ndarray of bool, shape (I, J, K)
        Brain with the CSF inside the dura.
    zooms : tuple of float
        Voxel sizes in mm.
    """
    voxel_ml = math.prod(zooms) / 1000.0
    total = int(mask.sum()) * voxel_ml
    if total == 0:
        return 0.0
    inner = mask[bounding_box(mask)]
    factors = [max(z / GRID_MM, 1.0 / n) for z, n in zip(zooms, inner.shape, strict=True)]
    # Where voxels are smaller than 2 mm they are averaged first, so that none is skipped.
    blur = [max(1, round(1.0 / f)) for f in factors]
    share = ndimage.uniform_filter(inner.astype(np.float32), blur)
    small = ndimage.zoom(share, factors, order=1, grid_mode=True, mode="nearest") > 0.5
    steps = [z * n / m for z, n, m in zip(zooms, inner.shape, small.shape, strict=True)]
    pad = [math.ceil(RADIUS_MM / s) + 1 for s in steps]
    padded = np.pad(small, [(p, p) for p in pad])
    whole = ndimage.binary_fill_holes(closed(padded, RADIUS_MM, tuple(steps)))
    bridged = int((whole & ~padded).sum()) * math.prod(steps) / 1000.0
    return float(total + bridged)
