"""What a scan and its brain mask must be like before any tissue is fitted to them."""

from __future__ import annotations

import numpy as np

from brainseg.core.masking import bounding_box
from brainseg.core.volume import Array, BoolArray, Volume
from brainseg.errors import DataError

FIELD_OF_VIEW_MM = (15.0, 1000.0)
"""Least and greatest side of a scan. What is smaller or larger is no head but a mistake (a unit
of length mistaken, a header damaged), and grids made in mm would be empty or without end."""
LARGEST_BRAIN_MM = 300.0
"""A side of the box around a brain mask; even a whole adult head lies within."""


def require_canonical(volume: Volume) -> None:
    """Refuse axes in another order than that in which the network and the atlas know heads.

    Raises
    ------
    DataError
    """
    if volume.axis_codes != "RAS":
        raise DataError(
            f"the volume's axes are {volume.axis_codes}, and RAS is needed here; "
            "brainseg.segment takes any order of axes"
        )


def require_head_size(volume: Volume) -> None:
    """Refuse a scan whose sides, in mm, are not those of a head.

    Raises
    ------
    DataError
    """
    sides = np.multiply(volume.shape, volume.zooms)
    low, high = FIELD_OF_VIEW_MM
    if sides.min() < low or sides.max() > high:
        raise DataError(
            f"the scan measures {_by(sides)} mm, of which a side is outside {low:g} to {high:g} "
            "mm; are the voxel sizes in its header right?"
        )


def require_brain_size(volume: Volume, mask: BoolArray) -> None:
    """Refuse a mask that is empty, or larger than any head.

    Raises
    ------
    DataError
    """
    if not mask.any():
        raise DataError("the brain mask is empty; give one as `mask`")
    box = bounding_box(mask)
    sides = np.multiply([s.stop - s.start for s in box], volume.zooms)
    if sides.max() > LARGEST_BRAIN_MM:
        raise DataError(
            f"the brain mask measures {_by(sides)} mm, more than the {LARGEST_BRAIN_MM:g} mm of "
            "any head; are the mask and the header's voxel sizes right?"
        )


def require_values(values: Array, n_tissues: int) -> None:
    """Refuse what holds fewer different values than there are tissues: a label map.

    Parameters
    ----------
    values : ndarray, shape (n_mask,)
        Intensities of the brain.
    n_tissues : int

    Raises
    ------
    DataError
    """
    # The first thousand voxels settle it for any real scan.
    if np.unique(values[:1000]).size < n_tissues:
        distinct = np.unique(values).size
        if distinct < n_tissues:
            raise DataError(
                f"the brain holds only {distinct} different values, too few for {n_tissues} "
                "tissues; is this a label map? Otherwise ask for fewer `tissues`"
            )


MOST_LESIONS = 0.3
"""Largest share of a brain that a mask of lesions may cover; ten times the heaviest loads of
multiple sclerosis and small vessel disease."""


def require_lesions(lesions: BoolArray, mask: BoolArray) -> None:
    """Refuse a mask of lesions that lies mostly outside the brain, or is no mask of lesions.

    Raises
    ------
    DataError
    """
    total, inside = np.count_nonzero(lesions), np.count_nonzero(lesions & mask)
    if total and inside < total / 2:
        raise DataError(
            f"the lesion mask lies outside the brain with {total - inside:,} of its {total:,} "
            "voxels; does it belong to this scan?"
        )
    share = inside / np.count_nonzero(mask)
    if share > MOST_LESIONS:
        raise DataError(
            f"the lesion mask covers {share:.0%} of the brain; lesions of white matter are "
            f"{MOST_LESIONS:.0%} at most. Is it a mask of the brain, or a label map?"
        )


def _by(sides: Array) -> str:
    return " x ".join(f"{s:.3g}" for s in sides)
