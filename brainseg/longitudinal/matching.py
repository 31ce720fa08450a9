"""Bring the intensities of aligned sessions onto each other: gains and differential bias fields."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.core.masking import Box, bounding_box
from brainseg.core.parallel import each
from brainseg.core.volume import Array, BoolArray
from brainseg.tissues.bias import LogField

# What is darker than this share of the brain's median is fluid: its ratio is noise and offset.
_FLUID = 0.6
# mm from the mask's edge where masks, dura and atrophy make ratios that no coil makes.
_RIM_MM = 4.0
# The same where pure tissue is looked for: half of the cortex lies in the outer 4 mm, and a coil
# shades it most. Found on the three pairs of visits in `pipelines/evaluate_longitudinal.py`.
_PURE_RIM_MM = 2.0
SLICES = 1.5
"""Thickness of a slice over its voxels' sides above which it was measured as a slice."""
# Standard deviation of the Gaussian over which the ratio of pure tissue is averaged (mm). Ten leave
# two thirds, sixteen nine tenths of the opposite shift of grey and white matter between two scans
# of one person within 90 days (`pipelines/evaluate_longitudinal.py`); less is the size of cortex.
_LOCAL_MM = 6.0
# Share of the solid voxels that counts as pure tissue: the half with the least gradient.
_PURE = 0.5
# Weight at which there is too little pure tissue around to say anything.
_LEAST_WEIGHT = 0.02
# Voxels that settle a slice's median to a thousandth, at 5 % of noise.
_LEAST_IN_SLICE = 500
# Voxels on which ratios are compared: a field of 45 mm needs no more.
_SAMPLES = 60_000
# Rounds of reweighting.
_ROUNDS = 3
# Tukey's constant: 95 % efficient on normal residuals, blind to what changed.
_TUKEY = 4.685
_MAD_TO_SD = 1.4826


def matched_gains(sessions: Sequence[NDArray[np.float32]], mask: BoolArray) -> NDArray[np.float64]:
    """Return the gain of each session: its median in the brain over the geometric mean of all.

    Parameters
    ----------
    sessions : sequence of ndarray of float32, shape (I, J, K)
        On one grid.
    mask : ndarray of bool, shape (I, J, K)

    Returns
    -------
    ndarray, shape (S,)
    """
    medians = np.array([float(np.median(session[mask])) for session in sessions])
    medians = np.maximum(medians, 1e-6 * max(float(medians.max()), 1e-6))
    out: NDArray[np.float64] = medians / np.exp(np.mean(np.log(medians)))
    return out


def mean_image(images: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of images on one grid; that of equal images is the image, to the bit."""
    total = np.zeros(images[0].shape, np.float64)
    for image in images:
        total += image
    out: NDArray[np.float32] = (total / len(images)).astype(np.float32)
    return out


def robust_mean(images: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of two images, and the median of more: one that moved bends it less.

    That of equal images is the image, to the bit. Reuter et al., NeuroImage 2012,
    doi:10.1016/j.neuroimage.2012.02.084.
    """
    if len(images) < 3:
        return mean_image(images)
    return np.median(np.stack(images), axis=0)


def differential_fields(
    sessions: Sequence[NDArray[np.float32]],
    mask: BoolArray,
    zooms: tuple[float, float, float],
) -> list[NDArray[np.float32]]:
    """Estimate what bias field and gain each session has that the mean of all has not.

    The anatomy is the same in all sessions, so the ratio of a session to the mean shows the coil;
    what changed between the visits is small and sharp, and a robust smooth fit passes it by.

    Parameters
    ----------
    sessions : sequence of ndarray of float32, shape (I, J, K)
        Aligned, with gains matched.
    mask : ndarray of bool, shape (I, J, K)
    zooms : tuple of float
        Voxel sizes in mm.

    Returns
    -------
    list of ndarray of float32, shape (I, J, K)
        Natural logarithm of the factor; its mean over the sessions is 0 everywhere.

    References
    ----------
    Lewis & Fox, NeuroImage 2004, doi:10.1016/j.neuroimage.2004.07.055.
    """
    box = bounding_box(mask, margin=1)
    mean = mean_image([session[box] for session in sessions])
    at = _solid(mean, mask[box], zooms)
    return _differences([_log_ratio(s[box], mean, at, zooms) for s in sessions], box, mask.shape)


def _differences(
    fields: Sequence[NDArray[np.float32]], box: Box, shape: tuple[int, ...]
) -> list[NDArray[np.float32]]:
    """Take their mean from fields of a box, and put them back on the grid, 0 around the box."""
    common = mean_image(fields)
    out = []
    for field in fields:
        whole = np.zeros(shape, np.float32)
        whole[box] = field - common
        out.append(whole)
    return out


def local_fields(
    sessions: Sequence[NDArray[np.float32]],
    mask: BoolArray,
    zooms: tuple[float, float, float],
    *,
    threads: int = 1,
) -> list[NDArray[np.float32]]:
    """Estimate the shading of each session that is finer than `differential_fields` follow.

    Scans that were corrected one by one before, or measured with many small coils, differ by such
    shades. They are seen in the interior of grey and white matter, where the intensity says nothing
    about volumes: the ratio to the mean is averaged over neighbours there, robustly, and edges,
    where tissue may have changed, are not asked. What the average leaves is averaged once more and
    added, for an average flattens what it follows (Tukey's twicing, Exploratory Data Analysis,
    1977).

    Parameters, returned logarithms and reference are as of `differential_fields`, whose fields are
    to be removed before; they do not depend on the threads.
    """
    box = bounding_box(mask, margin=1)
    mean = mean_image([session[box] for session in sessions])
    pure = _pure(mean, mask[box], zooms)
    fields = each(lambda s: _local_log_ratio(s[box], mean, pure, zooms), sessions, threads)
    return _differences(fields, box, mask.shape)


def _pure(
    mean: NDArray[np.float32], inside: BoolArray, zooms: tuple[float, float, float]
) -> BoolArray:
    """Say which voxels are of one solid tissue: away from the rim, and with little gradient."""
    solid = _solid_mask(mean, inside, zooms, _PURE_RIM_MM)
    slope = ndimage.gaussian_gradient_magnitude(mean, [1 / zoom for zoom in zooms])
    pure: BoolArray = solid & (slope <= np.quantile(slope[solid], _PURE))
    return pure


def _local_log_ratio(
    session: NDArray[np.float32],
    mean: NDArray[np.float32],
    pure: BoolArray,
    zooms: tuple[float, float, float],
) -> NDArray[np.float32]:
    """Average the logarithm of a ratio over neighbours in pure tissue (normalised convolution)."""
    floor = np.float32(0.05 * float(np.median(mean[pure])))
    ratio = np.log(np.maximum(session[pure], floor) / np.maximum(mean[pure], floor))
    sigma = [_LOCAL_MM / zoom for zoom in zooms]
    field = np.zeros(session.shape, np.float32)
    weights, weighted = np.zeros_like(field), np.zeros_like(field)
    for _ in range(_ROUNDS):
        residual = ratio - field[pure]
        sd = max(_MAD_TO_SD * float(np.median(np.abs(residual))), 1e-4)
        weights[pure] = np.maximum(1 - (residual / (_TUKEY * sd)) ** 2, 0) ** 2
        around = ndimage.gaussian_filter(weights, sigma) + np.float32(_LEAST_WEIGHT)
        weighted[pure] = weights[pure] * ratio
        field = ndimage.gaussian_filter(weighted, sigma) / around
    weighted[pure] = weights[pure] * (ratio - field[pure])
    field += ndimage.gaussian_filter(weighted, sigma) / around
    return field


def slice_axis(zooms: tuple[float, float, float]) -> int | None:
    """Return across which axis a scan was measured slice by slice.

    None for voxels (sides in mm) that are nearly cubes, which a scanner measures all together.
    """
    axis = int(np.argmax(zooms))
    return axis if zooms[axis] >= SLICES * sorted(zooms)[1] else None


def slice_gains(
    session: NDArray[np.float32],
    model: NDArray[np.float32],
    mask: BoolArray,
    axis: int,
) -> NDArray[np.float32]:
    """Estimate the gain of each slice of a session that was measured slice by slice.

    Neighbouring slices, measured one after the other, saturate each other's signal; how much
    depends on the slice and differs from visit to visit, and no smooth field follows it.

    Parameters
    ----------
    session : ndarray of float32, shape (I, J, K)
        A scan on its own grid.
    model : ndarray of float32, shape (I, J, K)
        What it is expected to show there, smooth fields included; 0 outside the mask.
    mask : ndarray of bool, shape (I, J, K)
    axis : int
        From `slice_axis`.

    Returns
    -------
    ndarray of float32, shape (I, J, K) broadcast along two axes
        The factor of each slice, 1 where a slice shows too little brain.
    """
    level = float(np.median(model[mask]))
    solid = mask & (model > _FLUID * level) & (session > 0.05 * level)
    gains = np.ones(session.shape[axis], np.float32)
    for k in range(len(gains)):
        part: list[slice | int] = [slice(None)] * 3
        part[axis] = k
        at = tuple(part)
        inside = solid[at]
        if np.count_nonzero(inside) >= _LEAST_IN_SLICE:
            ratio = session[at][inside] / model[at][inside]
            gains[k] = np.median(ratio)
    shape = [1, 1, 1]
    shape[axis] = -1
    return gains.reshape(shape)


def _solid(
    mean: NDArray[np.float32], inside: BoolArray, zooms: tuple[float, float, float]
) -> tuple[NDArray[np.intp], ...]:
    """Return voxels of `_solid_mask`, spread over the brain."""
    return spread(_solid_mask(mean, inside, zooms, _RIM_MM), _SAMPLES)


def _solid_mask(
    mean: NDArray[np.float32], inside: BoolArray, zooms: tuple[float, float, float], rim: float
) -> BoolArray:
    """Say which voxels hold grey or white matter, more than `rim` mm from the edge."""
    depth = ndimage.distance_transform_edt(inside, sampling=zooms)
    solid = (depth > rim) & (mean > _FLUID * float(np.median(mean[inside])))
    return solid if np.count_nonzero(solid) >= 1000 else inside


def spread(mask: BoolArray, at_most: int) -> tuple[NDArray[np.intp], ...]:
    """Return the indices of every n-th voxel of a mask, about so many.

    Slices that were measured in turns, first the odd and then the even ones, differ in
    brightness; a lattice of every second slice would see one kind only.
    """
    flat = np.flatnonzero(mask)
    step = max(1, round(len(flat) / at_most))
    return np.unravel_index(flat[:: step + 1 - step % 2], mask.shape)


def _log_ratio(
    session: NDArray[np.float32],
    mean: NDArray[np.float32],
    at: tuple[NDArray[np.intp], ...],
    zooms: tuple[float, float, float],
) -> NDArray[np.float32]:
    """Fit a smooth field and a gain to the logarithm of a ratio, robustly."""
    floor = np.float32(0.05 * float(np.median(mean[at])))
    ratio: Array = np.log(np.maximum(session[at], floor) / np.maximum(mean[at], floor))
    ratio = ratio.astype(np.float64)
    field = LogField(session.shape, zooms, at)
    gain = float(np.median(ratio))
    for _ in range(_ROUNDS):
        residual = ratio - gain - field.at_samples()
        sd = max(_MAD_TO_SD * float(np.median(np.abs(residual))), 1e-4)
        weight = np.maximum(1 - (residual / (_TUKEY * sd)) ** 2, 0) ** 2 / sd**2
        field.step(weight * residual, weight)
        left = ratio - field.at_samples()
        gain = float((weight * left).sum() / weight.sum())
    return field.on_grid() + np.float32(gain)
