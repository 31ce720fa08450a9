"""What the slice browser draws from: the scan's own voxels, all axial slices on one sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.core.masking import Box, bounding_box, widened
from brainseg.core.volume import Array
from brainseg.qc.draw import pictures
from brainseg.qc.draw.panels import HEAD_ROOM
from brainseg.qc.draw.pictures import Bytes
from brainseg.qc.measure.subject import Subject

MOST = 24_000_000
"""Voxels of a sheet. A head of 0.7 mm fits whole, in about 3 MB; a browser holds four bytes of
memory for each while it unpacks them. Finer scans are shown by every second voxel."""


@dataclass(frozen=True)
class Sprites:
    """What the slice browser draws from.

    Attributes
    ----------
    scan, labels : str
        Data URIs of the sheets: grey values (WebP), label values (PNG, exact).
    facts : dict
        Shape of the grid that is shown, columns of the sheet, and how the scan's voxels follow
        from it.
    """

    scan: str
    labels: str
    facts: dict[str, Any]


def sprites(subject: Subject) -> Sprites:
    """Put the voxels around the head on two sheets, the label of each exactly as it is."""
    volume = subject.volume
    box = widened(bounding_box(subject.mask), volume, HEAD_ROOM)
    every = steps([s.stop - s.start for s in box], volume.zooms)
    taken: Box = tuple(  # type: ignore[assignment]
        slice(s.start, s.stop, n) for s, n in zip(box, every, strict=True)
    )
    low, high = np.percentile(subject.samples[::7], [0.5, 99.5])
    low = min(0.0, float(low)) if low > 0 else float(low)
    high = float(high) + 0.25 * (float(high) - low)
    grey = pictures.window(volume.data[taken], low, high)
    where = subject.index[taken]
    labels = np.where(where >= 0, subject.label_samples[where], 0).astype(np.uint8)
    columns = math.ceil(math.sqrt(grey.shape[2] * grey.shape[1] / grey.shape[0]))
    facts = {
        "shape": list(grey.shape),
        "columns": columns,
        "size": [round(float(z) * n, 5) for z, n in zip(volume.zooms, every, strict=True)],
        "start": [s.start for s in box],
        "step": every,
        "affine": np.round(volume.affine[:3], 5).tolist(),
    }
    return Sprites(
        pictures.webp(sheet(grey, columns), 75), pictures.png_grey(sheet(labels, columns)), facts
    )


def steps(lengths: list[int], zooms: tuple[float, float, float]) -> list[int]:
    """Return every how many voxels of each axis are shown: 1 unless they are too many."""
    every = [1, 1, 1]
    while math.prod(math.ceil(n / s) for n, s in zip(lengths, every, strict=True)) > MOST:
        finest = min(range(3), key=lambda a: every[a] * zooms[a])
        every[finest] += 1
    return every


def sheet(data: Bytes, columns: int) -> NDArray[np.uint8]:
    """Lay axial slices out side by side, row by row, the front of the head up.

    Parameters
    ----------
    data : ndarray of uint8, shape (I, J, K)
    columns : int

    Returns
    -------
    ndarray of uint8, shape (rows * J, columns * I)
    """
    i, j, k = data.shape
    rows = math.ceil(k / columns)
    slices: Array = np.zeros((rows * columns, j, i), dtype=np.uint8)
    slices[:k] = data.transpose(2, 1, 0)[:, ::-1]
    laid: NDArray[np.uint8] = (
        slices.reshape(rows, columns, j, i).swapaxes(1, 2).reshape(rows * j, columns * i)
    )
    return laid
