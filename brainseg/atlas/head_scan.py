"""A scan made ready to be registered with the head atlas: averaged, clipped, its vertex found."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainseg.atlas.warping import sample, shrink
from brainseg.core.volume import Array, BoolArray, FloatArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeadScan:
    """The scan at about 2 mm, clipped and scaled to 0..1."""

    data: NDArray[np.float32]
    factors: tuple[int, int, int]
    zooms: FloatArray
    offset: FloatArray

    @classmethod
    def prepare(cls, data: Array, zooms: tuple[float, float, float]) -> HeadScan:
        """Average to about 2 mm and clip."""
        i, j, k = (max(1, round(1.999 / z)) for z in zooms)
        factors = (i, j, k)
        small = shrink(data, factors)
        # hot voxels and a bright fat must not rule the fit
        low, high = np.percentile(small, [0.5, 99.5])
        small = np.clip((small - low) / (float(high - low) or 1.0), 0, 1).astype(np.float32)
        coarse = np.array(zooms) * factors
        offset = (np.array(factors) - 1) / 2 * np.array(zooms)
        return cls(small, factors, coarse, offset)

    def of(self, data: Array) -> HeadScan:
        """Put another map of the same head in its place: averaged likewise, values as they are."""
        return replace(self, data=shrink(data, self.factors).astype(np.float32))

    def onto(
        self, matrix: Matrix, box: tuple[slice, slice, slice]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the scan on a box of the atlas grid, and 1 where the scanner saw it."""
        shape = tuple(s.stop - s.start for s in box)
        first = np.array([s.start for s in box])[:, None]
        voxels = np.indices(shape).reshape(3, -1) + first
        index = self.index(matrix[:3, :3] @ voxels + matrix[:3, 3:])
        values = sample(self.data[None], index)[0].reshape(shape)
        return values, self.seen(index).reshape(shape).astype(np.float32)

    def index(self, at: FloatArray) -> FloatArray:
        """Voxel indices of points (3, N) of the voxel frame in mm."""
        out: FloatArray = (at - self.offset[:, None]) / self.zooms[:, None]
        return out

    def seen(self, index: FloatArray) -> BoolArray:
        """Whether points given by their indices lie in the field of view."""
        last = np.array(self.data.shape)[:, None] - 0.5
        out: BoolArray = np.all((index > -0.5) & (index < last), axis=0)
        return out

    def vertex(self) -> FloatArray:
        """Middle of the head's top, in mm: where the uppermost 10 cm of foreground are centred."""
        small, zooms = self.data, self.zooms
        mid = float(small.mean())
        for _ in range(20):  # Ridler & Calvard's threshold: halfway between the two means
            above = small > mid
            if not above.any():  # one value throughout: nothing stands out of the background
                break
            mid = float(small[above].mean() + small[~above].mean()) / 2
        head = small > mid
        area = head.sum(axis=(0, 1)) * zooms[0] * zooms[1]
        large = np.flatnonzero(area > 0.2 * area.max())
        top = large[-1] if large.size else small.shape[2] - 1
        cap = head[:, :, max(0, top - int(100 / zooms[2])) : top + 1]
        where = np.argwhere(cap)
        middle = where.mean(axis=0) if len(where) else (np.array(small.shape) - 1) / 2
        out: FloatArray = np.array([middle[0], middle[1], top]) * zooms + self.offset
        return out
