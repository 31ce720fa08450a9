"""A small picture of one segmentation, for a notebook."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg.core import masking
from brainseg.core.volume import Volume
from brainseg.qc.draw import pictures
from brainseg.qc.draw.mosaic import AXIAL, CORONAL, SAGITTAL, section
from brainseg.tissues.tables import TissueTable

HEIGHT = 200
"""Pixels: three slices then fit beside each other in a notebook's column."""


def three_slices(volume: Volume, labels: NDArray[np.uint8], table: TissueTable) -> str:
    """Return the middle slice of each plane, tissues in colour, as a WebP data URI.

    Parameters
    ----------
    volume : Volume
        The scan, canonical order.
    labels : ndarray of uint8, shape (I, J, K)
    table : TissueTable
        Gives the colours.
    """
    whole = (slice(None), slice(None), slice(None))
    box = masking.bounding_box(labels > 0)
    high = float(np.percentile(volume.data[labels > 0], 99.5))
    colours = np.zeros((int(table.values.max()) + 1, 3), np.float32)
    for tissue in table.tissues:
        colours[tissue.index] = pictures.rgb(tissue.colour)
    panels = []
    for axis in (AXIAL, CORONAL, SAGITTAL):
        middle = (box[axis].start + box[axis].stop) // 2
        grey = pictures.window(section(volume.data, axis, middle, whole), 0.0, high)[..., None]
        label = section(labels, axis, middle, whole)[..., None]
        mixed = np.where(label > 0, 0.5 * grey + 0.5 * colours[label[..., 0]], grey)
        across, up = (z for a, z in enumerate(volume.zooms) if a != axis)
        width = round(HEIGHT * mixed.shape[1] * across / (mixed.shape[0] * up))
        panels.append(pictures.resized(mixed.astype(np.uint8), (max(width, 1), HEIGHT)))
    return pictures.webp(np.concatenate(panels, axis=1))
