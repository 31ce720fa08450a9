"""Recognise a scan whose skull was removed before."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from brainseg.core.masking import largest_part
from brainseg.core.volume import BoolArray, Volume

LEAST_BACKGROUND = 0.3
"""A stripped volume is mostly the constant that replaced the head."""
VOLUME_ML = (500.0, 2200.0)
"""Volume in mL that a brain alone can have; an adult's whole head has over 2500 mL."""

MAIN_PART = 0.95
"""Least share of the foreground in one piece: a brain alone hangs together."""


def find_body(volume: Volume) -> BoolArray | None:
    """Return the only body in a constant background when it is as small as a brain, else None.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    ndarray of bool, shape (I, J, K), or None

    Notes
    -----
    Air in a scanner is noise: one constant in a third of the volume and in its corners was put
    there. Defaced heads have it too, and small or cropped heads can be as small as a brain, so
    the caller asks a route whether the body is brain throughout.
    """
    data = volume.data
    corners = data[np.ix_(*([0, n - 1] for n in data.shape))].ravel()
    values, counts = np.unique(corners, return_counts=True)
    mask: BoolArray = data != values[counts.argmax()]
    if counts.max() < 6 or mask.mean() > 1 - LEAST_BACKGROUND:
        return None
    if not VOLUME_ML[0] <= float(mask.sum()) * volume.voxel_volume <= 1.1 * VOLUME_ML[1]:
        return None
    part, share = largest_part(mask)
    body: BoolArray = ndimage.binary_fill_holes(part)
    low, high = VOLUME_ML
    if share < MAIN_PART or not low <= body.sum() * volume.voxel_volume <= high:
        return None
    return body
