"""The grid in the middle of a person's sessions, and the way onto it and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.alignment.rigid import Matrix
from brainseg.core.parallel import each
from brainseg.core.volume import Array, BoolArray, Volume

# A grid that differs from another by less than this (voxels) is the same: headers are rounded.
_SAME = 1e-6


@dataclass(frozen=True, eq=False)
class MidSpace:
    """Where all sessions of a person are looked at.

    Attributes
    ----------
    affine : ndarray, shape (4, 4)
        Its voxel indices to the common world, in mm.
    shape : tuple of int
    poses : tuple of ndarray, shape (4, 4)
        For each session the rigid motion from its own world to the common one.
    """

    affine: Matrix
    shape: tuple[int, int, int]
    poses: tuple[Matrix, ...]

    @property
    def zooms(self) -> tuple[float, float, float]:
        """Voxel sizes in mm along each axis."""
        i, j, k = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(i), float(j), float(k)

    def index(self, session: int, volume: Volume) -> Matrix:
        """Voxel indices of the common grid to those of a session's own grid, shape (4, 4)."""
        there = np.linalg.inv(self.poses[session]) @ self.affine
        return np.asarray(np.linalg.solve(volume.affine, there))

    def seen(self, session: int, volume: Volume) -> BoolArray:
        """Say which voxels of the common grid lie in a session's field of view."""
        index = self.index(session, volume)
        out = np.ones(self.shape, bool)
        axes = np.ogrid[tuple(slice(n) for n in self.shape)]
        for row, n in zip(index[:3], volume.shape, strict=True):
            place = row[0] * axes[0] + row[1] * axes[1] + row[2] * axes[2] + row[3]
            out &= (place > -_SAME) & (place < n - 1 + _SAME)
        return out

    def bring(self, session: int, volume: Volume, *, order: int = 3) -> NDArray[np.float32]:
        """Resample a session once, by cubic B-splines; 0 outside its field of view.

        References
        ----------
        Thévenaz, Blu & Unser, IEEE Trans. Medical Imaging 2000, doi:10.1109/42.875199.
        """
        out = _resample(volume.data, self.index(session, volume), self.shape, order)
        out[~self.seen(session, volume)] = 0
        return out

    def carry_back(
        self, session: int, volume: Volume, maps: Sequence[Array], *, threads: int = 1
    ) -> list[NDArray[np.float32]]:
        """Carry maps of the common grid to a session's own grid, linearly; 0 outside."""
        index = np.linalg.inv(self.index(session, volume)).astype(np.float64)
        return each(lambda m: _resample(m, index, volume.shape, 1), maps, threads)


def mid_space(volumes: Sequence[Volume], poses: Sequence[Matrix]) -> MidSpace:
    """Make the grid in the middle: mean axes, mean extent, the finest voxels of any session.

    The same scan twice gets its own grid.

    Parameters
    ----------
    volumes : sequence of Volume
    poses : sequence of ndarray, shape (4, 4)
        From `brainseg.alignment.sessions.align_sessions`.
    """
    moved = [pose @ volume.affine for pose, volume in zip(poses, volumes, strict=True)]
    n = len(volumes)
    zooms = np.min([volume.zooms for volume in volumes], axis=0)
    turns = [matrix[:3, :3] / v.zooms for matrix, v in zip(moved, volumes, strict=True)]
    # The rotation nearest to the mean of the sessions' axes.
    p, _, q = np.linalg.svd(np.sum(turns, axis=0) / n)
    axes = p @ q
    low, high = np.zeros(3), np.zeros(3)
    for matrix, volume in zip(moved, volumes, strict=True):
        corners = np.stack(np.meshgrid(*([0, m - 1] for m in volume.shape), indexing="ij"))
        along = axes.T @ (matrix[:3, :3] @ corners.reshape(3, -1) + matrix[:3, 3:])
        # A turned box reaches further than it holds: its faces' middles tell its extent.
        middle = along.mean(axis=1)
        half = (np.array(volume.shape) - 1) / 2 * volume.zooms
        low += (middle - half) / n
        high += (middle + half) / n
    shape = np.maximum(np.round((high - low) / zooms).astype(int) + 1, 1)
    affine = np.eye(4)
    affine[:3, :3] = axes * zooms
    affine[:3, 3] = axes @ low
    i, j, k = (int(m) for m in shape)
    return MidSpace(affine, (i, j, k), tuple(poses))


def _resample(
    data: Array, index: Matrix, shape: tuple[int, int, int], order: int
) -> NDArray[np.float32]:
    """Interpolate where an affine of indices leads; what falls on voxels is taken as it is."""
    whole = np.rint(index)
    corners = np.array(shape, float)
    off = np.abs(index - whole)[:3]
    # The error of an index grows along the grid.
    if float((off[:, :3] @ corners + off[:, 3]).max()) < _SAME:
        index, order = whole, 0
    out: NDArray[np.float32] = ndimage.affine_transform(
        np.asarray(data, np.float32), index[:3, :3], index[:3, 3], output_shape=shape,
        order=order, output=np.float32, mode="mirror" if order > 1 else "grid-constant",
    )  # fmt: skip
    return out
