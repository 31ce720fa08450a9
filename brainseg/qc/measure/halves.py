"""The plane between the left and the right half of a brain, found by mirroring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from brainseg.core.volume import BoolArray, FloatArray

GRID_MM = 4.0
"""Voxel size on which the mirror is turned: halves of gyri average out, lobes do not."""
STARTS_DEG = (-20.0, 0.0, 20.0)
"""Angles that the search starts from; a head that is tilted further is rare."""


@dataclass(frozen=True)
class Midplane:
    """A plane in the frame of voxel indices times voxel sizes (mm).

    Attributes
    ----------
    normal : tuple of float
        Unit vector that points to the right.
    offset : float
        mm from the frame's origin along the normal.
    symmetry : float
        Correlation of the brain with its mirror image, at most 1.
    """

    normal: tuple[float, float, float]
    offset: float
    symmetry: float

    def is_left(self, mask: BoolArray, zooms: tuple[float, float, float]) -> BoolArray:
        """Tell which voxels of a mask have their centre in the left half, shape (n_mask,)."""
        distance = np.full(mask.shape, -self.offset, dtype=np.float32)
        for axis in range(3):
            along = np.arange(mask.shape[axis], dtype=np.float32) * np.float32(
                zooms[axis] * self.normal[axis]
            )
            distance += along.reshape([-1 if a == axis else 1 for a in range(3)])
        left: BoolArray = distance[mask] < 0
        return left


def find_midplane(tissue: FloatArray, zooms: tuple[float, float, float]) -> Midplane:
    """Find the plane in which a brain is most like its mirror image.

    Parameters
    ----------
    tissue : ndarray, shape (I, J, K)
        Share of grey and white matter in each voxel, axes in RAS+ order; the dark gap between the
        hemispheres holds the plane.
    zooms : tuple of float
        Voxel sizes in mm.

    Raises
    ------
    ValueError
        When there is no tissue.
    """
    small, size, start = _coarse(tissue, zooms)
    points = np.argwhere(small > 0.25) * size + start
    if len(points) == 0:
        raise ValueError("there is no tissue to divide")
    values = small[small > 0.25]
    centre = points.mean(axis=0)
    spread = float(values.std()) or 1.0

    def unlike(x: NDArray[np.float64]) -> float:
        normal = _normal(x[0], x[1])
        distance = (points - centre) @ normal - x[2]
        mirrored = (points - 2 * distance[:, None] * normal - start) / size
        there = ndimage.map_coordinates(small, mirrored.T, order=1, mode="constant")
        return float(((values - there) ** 2).mean())

    starts = [np.array([a, b, 0.0]) for a in STARTS_DEG for b in STARTS_DEG]
    first = min(starts, key=unlike)
    simplex = first + np.array([[0, 0, 0], [8.0, 0, 0], [0, 8.0, 0], [0, 0, 5.0]])
    found = optimize.minimize(
        unlike,
        first,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-7, "maxfev": 150},
    )
    normal = _normal(found.x[0], found.x[1])
    offset = float(centre @ normal + found.x[2])
    symmetry = 1.0 - float(found.fun) / (2 * spread**2)
    return Midplane((float(normal[0]), float(normal[1]), float(normal[2])), offset, symmetry)


def _normal(yaw: float, roll: float) -> NDArray[np.float64]:
    """Return the unit vector to the right, turned by so many degrees about z and about y."""
    a, b = np.radians([yaw, roll])
    return np.array([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)])


def _coarse(
    tissue: FloatArray, zooms: tuple[float, float, float]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Average blocks of about `GRID_MM`; return them, their size and the first one's centre, mm."""
    steps = [max(1, round(GRID_MM / z)) for z in zooms]
    pad = [(0, -n % s) for n, s in zip(tissue.shape, steps, strict=True)]
    padded = np.pad(tissue.astype(np.float32, copy=False), pad)
    i, j, k = (n // s for n, s in zip(padded.shape, steps, strict=True))
    small = padded.reshape(i, steps[0], j, steps[1], k, steps[2]).mean(axis=(1, 3, 5))
    size = np.multiply(steps, zooms)
    return small, size, (size - np.array(zooms)) / 2
