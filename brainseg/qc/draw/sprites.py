"""What the slice browser draws from: 8-bit, down-sampled, all axial slices on one sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainseg.core.masking import bounding_box, widened
from brainseg.qc.draw import mosaic, pictures
from brainseg.qc.draw.pictures import Bytes
from brainseg.qc.measure.subject import Subject

# Three quarters of a 2 mm voxel: fine enough to see a leak, small enough to send.
SPACING = 1.5


@dataclass(frozen=True)
class Sprites:
    """What the slice browser draws from.

    Attributes
    ----------
    scan, labels : str
        Data URIs of the sheets: grey values (WebP), label values (PNG, exact).
    facts : dict
        Shape of the sampled grid, columns of the sheet, and how voxels follow from it.
    """

    scan: str
    labels: str
    facts: dict[str, Any]


def sprites(subject: Subject) -> Sprites:
    """Sample scan and labels on an isotropic grid around the head."""
    volume = subject.volume
    box = widened(bounding_box(subject.mask), volume, (35.0, 35.0, 35.0, 35.0, 50.0, 35.0))
    spacing = max(SPACING, min(volume.zooms))
    starts = [s.start for s in box]
    lengths = [s.stop - s.start for s in box]
    shape = [max(1, round(n * z / spacing)) for n, z in zip(lengths, volume.zooms, strict=True)]
    low, high = np.percentile(subject.samples[::7], [0.5, 99.5])
    low = min(0.0, float(low)) if low > 0 else float(low)
    high = float(high) + 0.2 * (float(high) - low)
    columns = math.ceil(math.sqrt(shape[2] * shape[1] / shape[0]))
    sheet_rows = math.ceil(shape[2] / columns)
    scan = np.zeros((sheet_rows * shape[1], columns * shape[0]), dtype=np.uint8)
    labels = np.zeros_like(scan)
    size = (shape[0], shape[1])
    for n in range(shape[2]):
        at = (n + 0.5) * lengths[2] / shape[2] - 0.5
        below = min(max(math.floor(at), 0), lengths[2] - 1)
        above = min(below + 1, lengths[2] - 1)
        part = np.float32(min(max(at - below, 0.0), 1.0))
        lower, upper = (
            mosaic.section(volume.data, mosaic.AXIAL, starts[2] + k, box) for k in (below, above)
        )
        blend = lower if part == 0 else lower * (1 - part) + upper * part
        nearest = starts[2] + (above if part > 0.5 else below)
        where = mosaic.section(subject.index, mosaic.AXIAL, nearest, box)
        label = subject.label_samples[where] * (where >= 0)
        row, column = divmod(n, columns)
        place: Any = np.s_[
            row * shape[1] : (row + 1) * shape[1], column * shape[0] : (column + 1) * shape[0]
        ]
        scan[place] = pictures.resized(pictures.window(blend, low, high), size)
        labels[place] = _exact(label, size)
    facts = {
        "shape": shape,
        "columns": columns,
        "spacing": spacing,
        "start": starts,
        "step": [n / m for n, m in zip(lengths, shape, strict=True)],
        "affine": np.round(volume.affine[:3], 5).tolist(),
    }
    return Sprites(pictures.webp(scan, 68), pictures.png_grey(labels), facts)


def _exact(label: Bytes, size: tuple[int, int]) -> Bytes:
    return pictures.resized(np.ascontiguousarray(label), size, smooth=False)
