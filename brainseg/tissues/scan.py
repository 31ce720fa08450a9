"""A masked scan made ready for the fit: cropped, clipped and scaled to about 0..1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainseg.core.masking import bounding_box
from brainseg.core.volume import Array, BoolArray
from brainseg.errors import DataError
from brainseg.tissues.bias import DARKEST, scanner_zero

Index = tuple[NDArray[np.intp], ...]

CLIP = (DARKEST, 99.9)
"""Percentiles of the brain beyond which lie vessels and accidents, not tissue."""
BULK, BRIGHTEST = 90, 1.35
"""Percentile of a T1w brain up to which it is surely tissue, and how much brighter the brightest
tissue is at most. What is brighter still (fat, vessels after contrast agent) would else be taken
for white matter where there is more of it than `CLIP` cuts off. Of 27 T1w scans the percentile
99.5 is 1.27 times as bright at most, bias field included."""
# A log field needs positive intensities.
_FLOOR = 0.01


@dataclass(frozen=True, eq=False)
class Scan:
    """The channels inside the bounding box of the mask.

    Attributes
    ----------
    channels : list of ndarray of float32, shape (i, j, k)
        Scaled so that air is near 0 and the brightest tissue near 1, whatever the scanner's
        units; `correct` divides them by a field.
    inside : ndarray of bool, shape (i, j, k)
    box : tuple of slice
        Where this lies on the scan's grid.
    zeros, scales : tuple of float
        intensity = value * scale + zero, by channel.
    accidents : ndarray of bool, shape (i, j, k), or None
        Voxels that are no healthy tissue, or too bright for one; they teach no parameter.
    """

    channels: list[NDArray[np.float32]]
    inside: BoolArray
    box: tuple[slice, slice, slice]
    zeros: tuple[float, ...]
    scales: tuple[float, ...]
    accidents: BoolArray | None = None

    @classmethod
    def prepare(cls, volumes: Sequence[Array], mask: BoolArray, needed: int) -> Scan:
        """Crop, clip and scale.

        Raises
        ------
        DataError
            When the mask is empty or holds fewer than `needed` distinct values.
        """
        if not mask.any():
            raise DataError("the brain mask is empty; give one as `mask`")
        box = bounding_box(mask, margin=1)
        inside = np.ascontiguousarray(mask[box])
        accidents = None
        channels: list[NDArray[np.float32]] = []
        zeros, scales = [], []
        for volume in volumes:
            cropped = np.asarray(volume[box], dtype=np.float32)
            zero, lo, hi, limited = limits(volume, cropped[inside], t1w=not channels)
            if limited:
                accidents = cropped > hi
            distinct = np.unique(np.clip(cropped[inside], lo, hi)).size
            if distinct < max(needed, 2):
                raise DataError(
                    f"the brain holds {distinct} different intensities, {needed} tissues need at "
                    "least as many; is this a label map? Otherwise ask for fewer `tissues`"
                )
            channels.append(scaled(cropped, zero=zero, low=lo, high=hi))
            zeros.append(zero)
            scales.append(hi - zero)
        return cls(channels, inside, box, tuple(zeros), tuple(scales), accidents)

    def without(self, known: BoolArray) -> Scan:
        """Let the voxels that are known to be no healthy tissue, shape (n_mask,), teach nothing."""
        apart = np.zeros_like(self.inside)
        apart[self.inside] = known
        return replace(self, accidents=apart if self.accidents is None else apart | self.accidents)

    @property
    def tissue(self) -> BoolArray:
        """The voxels of the mask that teach, shape (i, j, k)."""
        return self.inside if self.accidents is None else self.inside & ~self.accidents

    def sample(self, at_most: int) -> Index:
        """Return indices of about so many voxels of the mask, on a regular lattice."""
        step = max(1, round((np.count_nonzero(self.inside) / at_most) ** (1 / 3)))
        lattice = np.zeros_like(self.inside)
        lattice[step // 2 :: step, step // 2 :: step, step // 2 :: step] = True
        lattice &= self.tissue
        # A mask thinner than the lattice is small enough to be taken whole.
        return np.nonzero(lattice if lattice.sum() >= 1000 else self.tissue)

    def rows(self, at: Index) -> NDArray[np.intp]:
        """Return the positions of indices of the box among the voxels of the mask."""
        flat = np.ravel_multi_index(at, self.inside.shape)
        return np.searchsorted(np.flatnonzero(self.inside), flat)

    def correct(self, log_fields: Sequence[NDArray[np.float32]]) -> None:
        """Divide each channel by its field."""
        for channel, field in zip(self.channels, log_fields, strict=True):
            channel /= np.exp(field)

    def values(self, flat: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the values at flat indices of the box, shape (n, D)."""
        return np.stack([c.ravel()[flat] for c in self.channels], axis=1).astype(np.float64)

    def intensities(self, channel: int) -> NDArray[np.float32]:
        """Return a channel inside the mask in the scanner's units, shape (n_mask,)."""
        scaled = self.channels[channel][self.inside]
        return np.asarray(
            scaled * np.float32(self.scales[channel]) + np.float32(self.zeros[channel])
        )

    def on_grid(self, cropped: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Put a map of the box back on the scan's grid, 0 around it."""
        out = np.zeros(shape, np.float32)
        out[self.box] = cropped
        return out


def limits(volume: Array, values: Array, *, t1w: bool) -> tuple[float, float, float, bool]:
    """Say between which intensities tissue lies.

    Parameters
    ----------
    volume : ndarray, shape (I, J, K)
        The scan.
    values : ndarray, shape (n_mask,)
        Its intensities in the brain.
    t1w : bool
        Nothing of this contrast is much brighter than white matter.

    Returns
    -------
    zero, low, high : float
        The scanner's zero, and the limits.
    limited : bool
        What is above `high` are accidents, more than `CLIP` cuts off.
    """
    low, most, high = (float(p) for p in np.percentile(values, (CLIP[0], BULK, CLIP[1])))
    zero = scanner_zero(volume, low)
    brightest = zero + BRIGHTEST * (most - zero)
    if t1w and brightest < high:
        return zero, low, brightest, True
    return zero, low, high, False


def scaled(data: Array, *, zero: float, low: float, high: float) -> NDArray[np.float32]:
    """Clip to `low` and `high`, then scale so that `zero` is 0 and `high` 1; all stays positive."""
    out: NDArray[np.float32] = np.clip(np.asarray(data, np.float32), low, high)
    out -= np.float32(zero)
    out /= np.float32(high - zero)
    np.maximum(out, np.float32(_FLOOR), out=out)
    return np.ascontiguousarray(out)
