"""Numerics of maps and displacements on one regular grid: sampling, smoothing, demons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.parallel import each
from brainseg.volume import Array, FloatArray


def pull(image: FloatArray, field: FloatArray) -> NDArray[np.float32]:
    """Sample an image at every voxel plus its displacement (linear, border values outside)."""
    at = np.indices(image.shape, dtype=np.float32)
    at += field
    out = np.empty(image.shape, np.float32)
    ndimage.map_coordinates(image, at, output=out, order=1, mode="nearest")
    return out


def demons(
    fixed: FloatArray,
    moving: FloatArray,
    *,
    field: FloatArray | None,
    iterations: int,
    fluid: float,
    elastic: float,
    weight: FloatArray | None = None,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Multi-channel demons with symmetric forces: bend `moving` until it looks like `fixed`.

    Each iteration adds to the field the force ``d g / (|g|^2 + d^2)``, d being the difference of
    the channels and g the mean of both gradients, limited to half a voxel, smoothed (`fluid`,
    sigma in voxels), and smooths the whole field (`elastic`).

    Parameters
    ----------
    fixed, moving : ndarray, shape (C, I, J, K)
        Channels of comparable scale, about 0..1.
    field : ndarray, shape (3, I, J, K), or None
        Displacement to start from, in voxels.
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
    still = [np.array(np.gradient(channel), np.float32) for channel in fixed]
    channels = list(zip(fixed, moving, still, strict=True))

    def force(channel: tuple[FloatArray, ...]) -> tuple[FloatArray, FloatArray]:
        """Push of a channel, and its part of the norm."""
        goal, source, gradient = channel
        bent = pull(source, now)
        difference = goal - bent
        slope = (np.array(np.gradient(bent), np.float32) + gradient) * np.float32(0.5)
        size = np.einsum("aijk,aijk->ijk", slope, slope)
        return difference * slope, size + difference * difference

    for _ in range(iterations):
        push = np.zeros_like(now)
        norm = np.full(shape, 1e-6, np.float32)
        for shove, size in each(force, channels, threads):
            push += shove
            norm += size
        push /= norm
        if weight is not None:
            push *= weight
        # the step is at most half a voxel: |d| |g| / (g^2 + d^2) <= 1/2
        now = smooth(now + smooth(push, fluid, threads), elastic, threads)
    return now


def sample(image: FloatArray, index: FloatArray) -> FloatArray:
    """Values at voxel indices of shape (3, N), linear, border values outside."""
    out: FloatArray = ndimage.map_coordinates(image, index, order=1, mode="nearest")
    return out


def smooth(maps: FloatArray, sigma: float, threads: int = 1) -> NDArray[np.float32]:
    """Gaussian smoothing of each map of a stack, sigma in voxels; 0 leaves them as they are."""
    if sigma <= 0:
        return np.asarray(maps, np.float32)
    out = np.empty(maps.shape, np.float32)

    def blur(channel: int) -> None:
        ndimage.gaussian_filter(
            maps[channel], sigma, output=out[channel], mode="nearest", truncate=3.0
        )

    each(blur, range(len(maps)), threads)
    return out


def shrink(data: Array, factors: Sequence[int]) -> NDArray[np.float32]:
    """Average blocks of voxels; a last incomplete block is dropped."""
    out = np.asarray(data, np.float32)
    for axis, factor in enumerate(factors):
        if factor > 1:
            n = out.shape[axis] // factor
            out = out.take(range(n * factor), axis=axis)
            shape = (*out.shape[:axis], n, factor, *out.shape[axis + 1 :])
            out = out.reshape(shape).mean(axis=axis + 1)
    return out


def enlarge(field: FloatArray, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Field of a grid of twice the voxel size, in the voxels of the finer one."""
    out = np.empty(shape, np.float32)
    half = np.diag([0.5] * 3)
    for source, target in zip(field, out, strict=True):
        # block averages lie half a fine voxel further in: fine i sits at (i - 0.5) / 2
        ndimage.affine_transform(
            2 * source, half, [-0.25] * 3, shape[1:], output=target, order=1, mode="nearest"
        )
    return out
