"""Between a scan's own grid and the cubic grid of the network, as one matrix an axis.

Both grids have the same axes (the voxel frame), so resampling is separable: a matrix along each
axis, dense and small. An oblique header changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg.core.volume import Array

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Cubic voxels around a point of the voxel frame.

    Attributes
    ----------
    centre : tuple of float
        Middle of the grid, in mm from the middle of the scan's first voxel.
    voxel : float
        Side of a voxel in mm.
    shape : tuple of int
        Number of voxels along each axis.
    """

    centre: tuple[float, float, float]
    voxel: float
    shape: tuple[int, int, int]

    def start(self, axis: int) -> float:
        """Return the place of the middle of the first voxel, in mm."""
        return self.centre[axis] - (self.shape[axis] - 1) / 2 * self.voxel


def averaging(n: int, zoom: float, grid: Grid, axis: int) -> tuple[Matrix, Matrix]:
    """Return the operator that averages a scan over the voxels of a grid, along one axis.

    Parameters
    ----------
    n, zoom : int, float
        The scan's voxels along the axis and their size in mm.
    grid : Grid
    axis : int

    Returns
    -------
    operator : ndarray, shape (grid.shape[axis], n)
        Mean of the linear interpolation over each voxel's extent, which keeps thick slices smooth
        and fine voxels free of aliasing. Rows without data are zero.
    coverage : ndarray, shape (grid.shape[axis],)
        Share of each voxel that the scan covers.
    """
    samples = 8
    size = grid.shape[axis]
    inside = (np.arange(samples) + 0.5) / samples - 0.5
    place = grid.start(axis) + (np.arange(size)[:, None] + inside) * grid.voxel
    index = place / zoom
    seen = (index >= -0.5) & (index <= n - 0.5)
    index = np.clip(index, 0, n - 1)
    low = np.minimum(index.astype(np.int64), max(n - 2, 0))
    part = index - low
    operator = np.zeros((size, n))
    rows = np.broadcast_to(np.arange(size)[:, None], low.shape)
    np.add.at(operator, (rows, low), (1 - part) * seen)
    np.add.at(operator, (rows, np.minimum(low + 1, n - 1)), part * seen)
    coverage = seen.mean(axis=1)
    operator /= np.maximum(seen.sum(axis=1), 1)[:, None]
    return operator.astype(np.float32), coverage.astype(np.float32)


def interpolating(voxels: slice, zoom: float, grid: Grid, axis: int) -> Matrix:
    """Return the operator that reads a grid at voxels of the scan, along one axis.

    Cubic convolution (Keys 1981, doi:10.1109/TASSP.1981.1163711): it passes through the grid's
    values and has no facets; the grid's outermost values go on outside it.

    Returns
    -------
    ndarray, shape (number of voxels, grid.shape[axis])
    """
    size = grid.shape[axis]
    index = (np.arange(voxels.start, voxels.stop) * zoom - grid.start(axis)) / grid.voxel
    index = np.clip(index, 0, size - 1)
    low = np.floor(index).astype(np.int64)
    operator = np.zeros((index.size, size))
    rows = np.arange(index.size)
    for tap in (-1, 0, 1, 2):
        x = np.abs(index - (low + tap))
        near = 1.5 * x**3 - 2.5 * x**2 + 1
        far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weight = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
        np.add.at(operator, (rows, np.clip(low + tap, 0, size - 1)), weight)
    return operator.astype(np.float32)


def apply(operators: tuple[Matrix, Matrix, Matrix], data: Array) -> NDArray[np.float32]:
    """Apply one operator along each axis of a volume; the one that shrinks most goes first.

    Returns
    -------
    ndarray, shape (rows of each operator)
    """
    out = np.asarray(data, dtype=np.float32)
    order = sorted(range(3), key=lambda a: operators[a].shape[0] / operators[a].shape[1])
    for axis in order:
        moved = np.tensordot(operators[axis], out, axes=(1, axis))
        out = np.moveaxis(moved, 0, axis)
    return np.ascontiguousarray(out)


def sample(
    data: Array, zooms: tuple[float, float, float], grid: Grid
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Average a scan over the voxels of a grid.

    Returns
    -------
    values : ndarray, shape grid.shape
    seen : ndarray of bool, shape grid.shape
        Where the scan covers at least half of the voxel.
    """
    pairs = [averaging(data.shape[a], zooms[a], grid, a) for a in range(3)]
    values = apply((pairs[0][0], pairs[1][0], pairs[2][0]), data)
    half = [p[1] >= 0.5 for p in pairs]
    return values, half[0][:, None, None] & half[1][:, None] & half[2]
