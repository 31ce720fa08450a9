"""Numerics of maps and displacements on one regular grid: sampling, smoothing, demons."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainseg.core.parallel import each, parts
from brainseg.core.volume import Array, FloatArray

SLAB_VOXELS = 1 << 16
"""Voxels of a part of the work: its arrays stay near the processor."""
FLUID = 1.0
"""Sigma in voxels by which each step of the demons is smoothed."""


def pull(image: FloatArray, field: FloatArray) -> NDArray[np.float32]:
    """Sample an image at every voxel plus its displacement (linear, border values outside)."""
    at = np.indices(image.shape, dtype=np.float32)
    at += field
    (values,) = sample(image[None], at.reshape(3, -1))
    out: NDArray[np.float32] = values.reshape(image.shape)
    return out


def demons(
    fixed: FloatArray,
    moving: FloatArray,
    *,
    field: FloatArray | None,
    iterations: int,
    elastic: float,
    weight: FloatArray | None = None,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Multi-channel demons with symmetric forces: bend `moving` until it looks like `fixed`.

    Each iteration adds to the field the force ``d g / (|g|^2 + d^2)``, d being the difference of
    the channels and g the mean of both gradients, limited to half a voxel, smoothed by
    `FLUID`, and smooths the whole field by `elastic`.

    Parameters
    ----------
    fixed, moving : ndarray, shape (C, I, J, K)
        Channels of comparable scale, about 0..1.
    field : ndarray, shape (3, I, J, K), or None
        Displacement to start from, in voxels.
    elastic : float
        Sigma in voxels.
    weight : ndarray, shape (I, J, K), optional
        0..1: where the difference counts.
    threads : int
        The result does not depend on it.

    References
    ----------
    Thirion, Med Image Anal 1998, doi:10.1016/S1361-8415(98)80022-4; symmetric forces after
    Vercauteren et al., NeuroImage 2009, doi:10.1016/j.neuroimage.2008.10.040.
    """
    shape = fixed.shape[1:]
    now = np.zeros((3, *shape), np.float32) if field is None else field.astype(np.float32)
    push = np.empty_like(now)
    grid = np.indices(shape, dtype=np.float32)

    def force(slab: slice) -> None:
        """Write the push of the channels, their parts of the norm added up."""
        # a plane more on either side, for the gradient
        wide = slice(max(slab.start - 1, 0), min(slab.stop + 1, shape[0]))
        core = slice(slab.start - wide.start, slab.stop - wide.start)
        at = grid[:, wide] + now[:, wide]
        bent = sample(moving, at.reshape(3, -1)).reshape(len(moving), *at.shape[1:])
        shove = push[:, slab]
        shove[:] = 0
        norm = np.full(shove.shape[1:], 1e-6, np.float32)
        for goal, source in zip(fixed, bent, strict=True):
            difference = goal[slab] - source[core]
            # the mean of both gradients is the gradient of the mean
            slope = np.stack(np.gradient((source + goal[wide]) * np.float32(0.5)))[:, core]
            shove += difference * slope
            norm += np.einsum("aijk,aijk->ijk", slope, slope)
            norm += difference * difference
        shove /= norm
        if weight is not None:
            shove *= weight[slab]

    slabs = parts(shape[0], max(2, SLAB_VOXELS // (shape[1] * shape[2])))
    for _ in range(iterations):
        each(force, slabs, threads)
        # the step is at most half a voxel: |d| |g| / (g^2 + d^2) <= 1/2
        now = smooth(now + smooth(push, FLUID, threads), elastic, threads)
    return now


def sample(maps: FloatArray, index: FloatArray) -> NDArray[np.float32]:
    """Values of maps at voxel indices, linear, border values outside.

    Parameters
    ----------
    maps : ndarray, shape (C, I, J, K)
    index : ndarray, shape (3, N)

    Returns
    -------
    ndarray of float32, shape (C, N)

    Notes
    -----
    Gathering the eight corners takes a half of the time of `scipy.ndimage.map_coordinates` for
    one map, and a quarter for several: they share indices and weights.
    """
    shape = maps.shape[1:]
    near = np.zeros(index.shape[1], np.int32)
    between = []
    for place, n in zip(index, shape, strict=True):
        place = np.clip(place, 0, n - 1)
        low = np.minimum(place.astype(np.int32), max(n - 2, 0))
        between.append((place - low).astype(np.float32))
        near *= n
        near += low
    strides = (shape[1] * shape[2], shape[2], 1)
    steps = [stride if n > 1 else 0 for n, stride in zip(shape, strides, strict=True)]
    sides = [((1 - part, 0), (part, step)) for part, step in zip(between, steps, strict=True)]
    flat = [np.ascontiguousarray(m, np.float32).ravel() for m in maps]
    out = np.zeros((len(maps), index.shape[1]), np.float32)
    for (i, ahead), (j, beside), (k, above) in itertools.product(*sides):
        weight = i * j * k
        corner = near + (ahead + beside + above)
        for values, total in zip(flat, out, strict=True):
            # clip never clips here; it is what spares NumPy the checks
            total += values.take(corner, mode="clip") * weight
    return out


def smooth(maps: FloatArray, sigma: float, threads: int = 1) -> NDArray[np.float32]:
    """Gaussian smoothing of each map of a stack, sigma in voxels; 0 leaves them as they are.

    One product with a banded matrix an axis: on grids of some 100 voxels a side that takes a
    third of the time of `scipy.ndimage.gaussian_filter`. Callers hold BLAS to one thread, so that
    it splits no sum by their number.
    """
    if sigma <= 0:
        return np.asarray(maps, np.float32)
    first, second, third = (_gaussian_matrix(n, sigma) for n in maps.shape[1:])

    def blur(channel: FloatArray) -> NDArray[np.float32]:
        n = len(channel)
        x = first @ np.asarray(channel, np.float32).reshape(n, -1)
        return (second @ x.reshape(channel.shape)) @ third.T

    return np.stack(each(blur, maps, threads))


@functools.lru_cache(maxsize=32)
def _gaussian_matrix(n: int, sigma: float) -> NDArray[np.float32]:
    """Smoothing along an axis of n voxels as a matrix; border values go on outside."""
    reach = int(3 * sigma + 0.5)
    taps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (taps / sigma) ** 2)
    matrix = np.zeros((n, n))
    for tap, weight in zip(taps, weights / weights.sum(), strict=True):
        np.add.at(matrix, (np.arange(n), np.clip(np.arange(n) + tap, 0, n - 1)), weight)
    return matrix.astype(np.float32)


def shrink(data: Array, factors: Sequence[int]) -> NDArray[np.float32]:
    """Average blocks of voxels; a last incomplete block is dropped."""
    out = np.asarray(data, np.float32)
    for axis, factor in enumerate(factors):
        if factor > 1:
            whole = out.shape[axis] // factor * factor
            before = (slice(None),) * axis
            # sums of slices: NumPy's own mean over so short an axis is five times slower
            total = sum(out[(*before, slice(i, whole, factor))] for i in range(factor))
            out = np.asarray(total * np.float32(1 / factor), np.float32)
    return out


def enlarge(field: FloatArray, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Field of a grid of twice the voxel size, in the voxels of the finer one."""
    # block averages lie half a fine voxel further in: fine i sits at (i - 0.5) / 2
    at = np.indices(shape[1:], dtype=np.float32).reshape(3, -1)
    return sample(2 * field, (at - np.float32(0.5)) / 2).reshape(shape)
