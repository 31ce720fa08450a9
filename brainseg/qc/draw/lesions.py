"""Pictures of lesions: the same place at every visit, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainseg.longitudinal.lesions import Lesion, Lesions
from brainseg.qc.draw import pictures
from brainseg.qc.draw.mosaic import AXIAL, section

SIDE_MM = 60.0
"""Side of what is shown around a lesion: enough to know where in the brain it is."""
PIXELS = 220
_GAP = 4
_OUTLINE = "#ffb000"


def strip(
    lesion: Lesion,
    found: Lesions,
    flairs: Sequence[NDArray[np.float32]],
    zooms: tuple[float, float, float],
    high: float,
) -> NDArray[np.uint8]:
    """Draw the axial slice that holds most of a lesion, once for each visit, outlined.

    Parameters
    ----------
    lesion : Lesion
    found : Lesions
    flairs : sequence of ndarray of float32, shape (I, J, K)
        FLAIR of each visit.
    zooms : tuple of float
        Voxel sizes in mm.
    high : float
        Intensity that is drawn white.

    Returns
    -------
    ndarray of uint8, shape (`PIXELS`, width, 3)
    """
    own = found.numbers == lesion.number
    at = int(own.sum(axis=(0, 1)).argmax())
    middle = np.argwhere(own[:, :, at]).mean(axis=0)
    sides = []
    for centre, zoom, n in zip(middle, zooms[:2], own.shape[:2], strict=True):
        half = round(SIDE_MM / 2 / zoom)
        start = int(np.clip(round(centre) - half, 0, max(n - 2 * half, 0)))
        sides.append(slice(start, min(start + 2 * half, n)))
    box = (sides[0], sides[1], slice(at, at + 1))
    panels = []
    for flair, lesions in zip(flairs, found.maps, strict=True):
        grey = pictures.window(section(flair, AXIAL, at, box), 0.0, high)
        inside = section(lesions, AXIAL, at, box) > 0.5
        width = round(PIXELS * grey.shape[1] * zooms[0] / (grey.shape[0] * zooms[1]))
        large = pictures.resized(grey, (width, PIXELS))
        mask = pictures.resized(inside.astype(np.uint8) * 255, (width, PIXELS), smooth=False) > 0
        picture = np.repeat(large[..., None], 3, axis=2)
        picture[pictures.outline(mask)] = pictures.rgb(_OUTLINE)
        panels += [picture, np.full((PIXELS, _GAP, 3), 20, np.uint8)]
    return np.concatenate(panels[:-1], axis=1)
