"""Do aligned scans show one head: the correlation of what is fine in them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.core.volume import BoolArray

# Structures between these sizes (mm, as standard deviations of Gaussians): gyri and ventricles,
# which are a person's own. Coarser ones all brains share, finer ones are noise.
_FINE_MM, _COARSE_MM = 0.8, 8.0
# The edge of a mask is alike in all heads.
_RIM_MM = 4.0
_STEP_MM = 2.0


def likeness(
    images: Sequence[NDArray[np.float32]], mask: BoolArray, zooms: tuple[float, float, float]
) -> float:
    """Return the least correlation of two aligned scans in the brain, coarse structures removed.

    Parameters
    ----------
    images : sequence of ndarray of float32, shape (I, J, K)
        On one grid.
    mask : ndarray of bool, shape (I, J, K)
        Brain that all of them show.
    zooms : tuple of float
        Voxel sizes in mm.

    Returns
    -------
    float
        -1 to 1. Of one person's visits 0.99 (1 mm, one scanner), 0.95 and 0.85 (3 mm slices, the
        last one with a contrast agent at one visit); of different people 0.03 to 0.46.
    """
    steps = [max(1, round(_STEP_MM / zoom)) for zoom in zooms]
    lattice = tuple(slice(None, None, step) for step in steps)
    sides = np.multiply(steps, zooms)
    inside = mask[lattice]
    inner = ndimage.distance_transform_edt(inside, sampling=sides) > _RIM_MM
    if np.count_nonzero(inner) < 1000:
        inner = inside
    details = []
    for image in images:
        fine = ndimage.gaussian_filter(image, [_FINE_MM / zoom for zoom in zooms])[lattice]
        details.append((fine - ndimage.gaussian_filter(fine, _COARSE_MM / sides))[inner])
    pairs = itertools.combinations(details, 2)
    return min(float(np.corrcoef(one, other)[0, 1]) for one, other in pairs)
