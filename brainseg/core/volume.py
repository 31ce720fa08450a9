"""A volume is an array with its place in the scanner; it knows no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image with its affine.

    Attributes
    ----------
    data : ndarray, shape (I, J, K)
        Voxel values. Inside brainseg the axes are in the closest-canonical (RAS+) order;
        `brainseg.io.nifti` converts on reading and back on writing.
    affine : ndarray, shape (4, 4), float64
        Voxel indices to world coordinates (RAS+, mm).
    """

    data: Array
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise ValueError(f"a Volume is three-dimensional, data has shape {self.data.shape}")
        if self.affine.shape != (4, 4):
            raise ValueError(f"an affine is 4x4, this one has shape {self.affine.shape}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        i, j, k = self.data.shape
        return i, j, k

    @property
    def zooms(self) -> tuple[float, float, float]:
        """Voxel sizes in mm along each axis."""
        i, j, k = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(i), float(j), float(k)

    @property
    def axis_codes(self) -> str:
        """Where the axes point, for example ``RAS`` or ``PIR``; oblique axes to the nearest."""
        # The rotation nearest to the affine; shears are left out.
        p, _, q = np.linalg.svd(self.affine[:3, :3] / self.zooms)
        turn = p @ q
        along = np.abs(turn)
        codes, taken = ["", "", ""], np.zeros(3, dtype=bool)
        for axis in np.argsort(-along.max(axis=0), kind="stable"):
            free = np.where(taken, -1.0, along[:, axis])
            # An axis half-way between two keeps its own place: rounding must not decide.
            world = int(axis if free[axis] > free.max() - 1e-6 else free.argmax())
            taken[world] = True
            codes[axis] = ("LR", "PA", "IS")[world][int(turn[world, axis] > 0)]
        return "".join(codes)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mL."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def with_data(self, data: Array) -> Volume:
        """Return a volume of other values on the same grid."""
        if data.shape != self.data.shape:
            raise ValueError(f"data of shape {data.shape} does not fit the grid {self.data.shape}")
        return Volume(data, self.affine)
