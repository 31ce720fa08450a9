"""The head and the air around it: where a scan's noise and ghosts are seen undisturbed."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from brainseg.core.volume import Array, FloatArray
from brainseg.qc.measure.subject import Subject

BLOCK_MM = 3.0
# Brighter than this share of the brain is head, not air: ghosts are darker, scalp is brighter.
HEAD = 0.15
# The mean of so few voxels of noise alone stays within this factor; tissue does not.
EVEN = 1.5


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Sampled intensities of the scan as it came: of the whole head, and of the air around it.

    `air` is empty where the background was removed, or where the picture holds none.
    """

    head: Array
    air: Array


def surroundings(subject: Subject) -> Surroundings:
    """Tell head from air, and sample both.

    Air is what lies outside the large bright pieces with their holes filled, 6 mm away from it, and
    is not constant padding. Where less than 1 % of the picture is left, it is empty. One voxel of
    each block of 3 mm is taken.
    """
    data, zooms = subject.volume.data, subject.volume.zooms
    steps = [max(1, round(BLOCK_MM / z)) for z in zooms]
    shape = [n // s for n, s in zip(data.shape, steps, strict=True)]
    low = float(data[::3, ::3, ::3].min())
    padding = _blocks(data, steps, np.maximum) <= low
    mean = _blocks(data, steps, np.add) / math.prod(steps)
    level = low + _head_level(mean - low, padding, float(np.median(subject.samples[::7])) - low)
    centre = tuple(slice(s // 2, n * s, s) for n, s in zip(shape, steps, strict=True))
    brain = subject.mask[centre]
    pieces, _ = ndimage.label((mean > level) | brain)
    sizes = np.bincount(pieces.ravel())
    # The scalp may hang together with the brain nowhere, for the skull is dark.
    large = sizes > 0.05 * brain.sum()
    large[0] = False
    head = large[pieces]
    around = ndimage.binary_dilation(head, iterations=2)
    around = ndimage.binary_erosion(around, iterations=2, border_value=1)
    for axis in range(3):  # nose, mouth and ears open sideways; each plane closes other holes
        for n in range(around.shape[axis]):
            where: list[Any] = [slice(None)] * 3
            where[axis] = n
            around[tuple(where)] |= ndimage.binary_fill_holes(around[tuple(where)])
    far = ~ndimage.binary_dilation(around, iterations=2) & ~padding
    points = data[centre]
    if far.sum() < max(50, 0.01 * far.size):
        far = np.zeros_like(far)
    return Surroundings(points[head], points[far])


def _head_level(mean: FloatArray, padding: Array, brain: float) -> float:
    """Return the block mean above which a block is head: above the noise where noise is strong."""
    faces = np.zeros(mean.shape, dtype=bool)
    for axis in range(3):
        for end in (0, -1):
            where: list[Any] = [slice(None)] * 3
            where[axis] = end
            faces[tuple(where)] = True
    outermost = mean[faces & ~padding]
    level = HEAD * brain
    if outermost.size >= 50:
        dark, median = np.percentile(outermost, [10, 50])
        # A neck or a nose fills less than half of the outermost blocks; air is even.
        if median < EVEN * dark:
            level = max(level, EVEN * float(median))
    return min(level, 0.5 * brain)


def _blocks(data: Array, steps: list[int], combine: np.ufunc) -> FloatArray:
    """Combine the voxels of each block of so many voxels along each axis."""
    for axis, step in enumerate(steps):
        end = data.shape[axis] // step * step
        parts = [
            data[tuple(slice(start, end, step) if a == axis else slice(None) for a in range(3))]
            for start in range(step)
        ]
        data = functools.reduce(combine, parts)
    return data
