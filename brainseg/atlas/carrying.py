"""From the atlas onto a scan: its maps read where `brainseg.atlas.registration` has found it."""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.atlas.head_atlas import BRAIN, Atlas
from brainseg.atlas.registration import Registration
from brainseg.atlas.warping import SLAB_VOXELS, pull, sample
from brainseg.core.masking import bounding_box
from brainseg.core.parallel import each, parts
from brainseg.core.volume import BoolArray, FloatArray


def carry(
    maps: FloatArray,
    registration: Registration,
    inside: BoolArray,
    *,
    zooms: tuple[float, float, float],
    threads: int = 1,
) -> NDArray[np.float32]:
    """Read maps that lie on the atlas grid at voxels of the scan.

    Parameters
    ----------
    maps : ndarray, shape (C, i, j, k)
        Maps on the atlas grid; outside of it they continue with their border values.
    registration : Registration
        Where the atlas lies.
    inside : ndarray of bool, shape (I, J, K)
        The voxels that are wanted, on the scan's grid.
    zooms : tuple of float
        Of the scan.

    Returns
    -------
    ndarray of float32, shape (C, n)
        In C order of the grid.
    """
    bent = _bent(maps, registration, threads)
    to_atlas = _to_atlas(registration, zooms)
    flat = np.flatnonzero(inside)
    out = np.empty((len(maps), len(flat)), np.float32)

    def read(rows: slice) -> None:
        voxels = np.stack(np.unravel_index(flat[rows], inside.shape)).astype(float)
        out[:, rows] = sample(bent, to_atlas[:3, :3] @ voxels + to_atlas[:3, 3:])

    each(read, parts(len(flat), SLAB_VOXELS), threads)
    return out


def carry_brain(
    registration: Registration,
    atlas: Atlas,
    *,
    shape: tuple[int, int, int],
    zooms: tuple[float, float, float],
    threads: int = 1,
) -> NDArray[np.float32]:
    """Return the atlas' probability of the brain on the scan's grid.

    Returns
    -------
    ndarray of float32, shape (I, J, K)
    """
    (bent,) = _bent(atlas.of(*BRAIN)[None], registration, threads)
    near = bounding_box(bent > 0.01, margin=1)
    corners = np.array(list(itertools.product(*((s.start, s.stop - 1) for s in near)))).T
    there = registration.matrix[:3, :3] @ corners + registration.matrix[:3, 3:]
    there /= np.array(zooms)[:, None]
    low = np.clip(np.floor(there.min(axis=1)), 0, shape).astype(int)
    high = np.clip(np.ceil(there.max(axis=1)) + 1, low, shape).astype(int)
    to_atlas = _to_atlas(registration, zooms)
    out = np.zeros(shape, np.float32)

    def read(planes: slice) -> None:
        start = np.array([planes.start, low[1], low[2]])
        part = out[planes, low[1] : high[1], low[2] : high[2]]
        matrix, shift = to_atlas[:3, :3], to_atlas[:3, :3] @ start + to_atlas[:3, 3]
        part[:] = ndimage.affine_transform(
            bent, matrix, shift, part.shape, output=np.float32, order=1, mode="nearest"
        )

    if (high > low).all():
        planes = [slice(low[0] + p.start, low[0] + p.stop) for p in parts(high[0] - low[0], 16)]
        each(read, planes, threads)
    return out


def _bent(maps: FloatArray, registration: Registration, threads: int) -> NDArray[np.float32]:
    field = registration.field
    if field is None:
        return np.asarray(maps, np.float32)
    return np.stack(each(functools.partial(pull, field=field), maps, threads))


def _to_atlas(registration: Registration, zooms: tuple[float, float, float]) -> NDArray[np.float64]:
    """Voxel indices of the scan to those of the atlas."""
    frame = np.diag([*zooms, 1.0])
    out: NDArray[np.float64] = np.linalg.solve(registration.matrix, frame).astype(np.float64)
    return out
