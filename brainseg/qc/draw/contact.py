"""The one small picture that stands for a scan on the page of its study."""

from __future__ import annotations

import numpy as np

from brainseg.core.masking import bounding_box, widened
from brainseg.qc.draw import mosaic, pictures
from brainseg.qc.draw.panels import MASK_COLOUR
from brainseg.qc.measure.subject import Subject
from brainseg.tissues.tables import THREE


def contact(subject: Subject) -> bytes:
    """Draw the one small picture that stands for a scan on the study page, as WebP."""
    volume = subject.volume
    brain = bounding_box(subject.mask)
    head = widened(brain, volume, (10.0,) * 6)
    rows: list[tuple[int, list[int]]] = [
        (axis, mosaic.spread(brain[axis].start, brain[axis].stop, 3, 0.25))
        for axis in (mosaic.AXIAL, mosaic.CORONAL, mosaic.SAGITTAL)
    ]
    sheet = mosaic.layout(volume, head, rows, width=480)
    low, high = np.percentile(subject.samples[::7], [0.5, 99.5])
    grey = sheet.draw(
        volume.data, lambda s: pictures.window(s, min(0.0, float(low)), 1.2 * float(high))
    )
    winners = (subject.fractions.argmax(axis=1) + 1).astype(np.uint8)
    label = sheet.draw_samples(subject.index, winners, lambda s: s, smooth=False)
    colours = np.array([(0, 0, 0), *(pictures.rgb(t.colour) for t in THREE.tissues)], np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    inside = label > 0
    picture[inside] = picture[inside] * 0.6 + colours[label[inside]] * 0.4
    picture[sheet.contour(subject.mask, 1)] = pictures.rgb(MASK_COLOUR)
    return pictures.webp_bytes(sheet.with_sides(picture), 70)
