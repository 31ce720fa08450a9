"""The same image in another order of axes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform


def turned(data: np.ndarray, affine: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels in another order of axes, with their affine."""
    change = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    other = nib.orientations.apply_orientation(data, change)
    return other, affine @ inv_ornt_aff(change, data.shape)
