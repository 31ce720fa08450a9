"""A picture of the skull's thickness, seen from three sides."""

from __future__ import annotations

import numpy as np

from brainseg.core.masking import bounding_box
from brainseg.core.volume import Array, Volume
from brainseg.qc.draw import pictures
from brainseg.qc.draw.mosaic import AXIAL, GAP, SAGITTAL, Cell, Mosaic
from brainseg.qc.draw.pictures import Bytes

MOST_MM = 12.0
"""Thickness at the bright end of the colours; most of a skull has 3 to 9 mm."""


def projections(thickness: Array, volume: Volume, *, width: int = 1680) -> tuple[Mosaic, Bytes]:
    """Draw the thickness of the outermost bone as seen from the left, the right and above.

    Parameters
    ----------
    thickness : ndarray of float32, shape (I, J, K)
        In mm at the outer surface of the bone, 0 elsewhere; not all 0.
    volume : Volume
        Gives voxel sizes and positions.
    width : int
        Pixels of the picture.

    Returns
    -------
    mosaic : Mosaic
        Without cells, as there are no slices to look up.
    picture : ndarray of uint8, shape (height, width, 3)
    """
    box = bounding_box(thickness > 0)
    shown = thickness[box]
    views = (
        (SAGITTAL, _outermost(shown, 0)[::-1, ::-1], (1, 2), "A", "P"),
        (SAGITTAL, _outermost(shown[::-1], 0)[::-1], (1, 2), "P", "A"),
        (AXIAL, _outermost(shown[..., ::-1], 2)[::-1], (0, 1), "L", "R"),
    )
    extent = [n * z for n, z in zip(shown.shape, volume.zooms, strict=True)]
    scale = (width - 2 * GAP) / sum(extent[sides[0]] for _, _, sides, _, _ in views)
    height = int(scale * max(extent[sides[1]] for _, _, sides, _, _ in views))
    colours = pictures.colour_map(pictures.HEAT)
    picture = np.zeros((height, width, 3), np.uint8)
    marks = []
    left = 0
    for axis, view, sides, first, last in views:
        w, h = (int(scale * extent[side]) for side in sides)
        drawn = pictures.resized(
            pictures.window(view, 0.0, MOST_MM), (w, min(h, height)), smooth=False
        )
        picture[: drawn.shape[0], left : left + w] = colours[drawn] * (drawn > 0)[..., None]
        marks.append((Cell(axis, 0, left, 0, w, drawn.shape[0]), first, last))
        left += w + GAP
    m = Mosaic((), box, width, height, scale, volume.affine)
    return m, m.lettered(picture, marks)


def _outermost(data: Array, axis: int) -> Array:
    """Return the first value above 0 along an axis, as seen: columns from left to right."""
    at = np.expand_dims((data > 0).argmax(axis=axis), axis)
    first: Array = np.take_along_axis(data, at, axis).squeeze(axis).T
    return first
