"""Bias field: the smooth gain that the receive coil lays over a scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg.core.masking import bounding_box
from brainseg.core.parallel import one_itk_thread
from brainseg.core.volume import Array, BoolArray

N4_GRID = 4.0
"""Spacing (mm) of the shrunken grid that N4 works on; the field is far smoother than this."""

DARKEST = 0.1
"""Percentile of the brain's intensities that stands for its darkest: below lie accidents."""

STIFFNESS = 8e4
"""Bending penalty for each sample (mm^4), for residuals in units of the grey-white gap. It holds
for the first `SETTLING_STEPS` of EM; after them a quarter of it does. With a tenth of this
stiffness the field follows anatomy on scans that were corrected before (0.01 Dice); with ten times
as much it leaves a third of a 40 % field (`pipelines/evaluate_accuracy.py`)."""

LEAST_SD = 0.045
"""Standard deviation in the brain under which a log field is not believed. What remains in scans
that were corrected before, where anatomy alone drives the field, came to 0.04 at most; heads as
they leave the scanner have 0.07 and more."""

LARGEST = 2.5
"""Bound of a log field on either side: no coil shades by a factor of twelve, but the least squares
may, on values that are no scan's or where no sample is near."""

SETTLING_STEPS = 8
"""Steps until the tissues have settled."""


def scanner_zero(data: Array, darkest: float) -> float:
    """Return the intensity that the scanner calls zero, above which a coil's gain multiplies.

    Parameters
    ----------
    data : ndarray, shape (I, J, K)
        The scan as it came.
    darkest : float
        Of the brain; where a scan holds no air, its darkest voxels lie above this.
    """
    return min(float(np.percentile(data[::2, ::2, ::2], 0.5)), darkest)


FLAT = 0.005
"""Span of a field in the brain under which there is nothing to see or to tell of it."""


def is_flat(field: Array) -> bool:
    """Say whether a bias field, given at some voxels of the brain, is flat to 0.5 %."""
    return field.size == 0 or float(np.ptp(field)) < FLAT


def divide(data: Array, field: Array, zero: float) -> Array:
    """Return a scan without its bias field; an offset of all intensities is not divided by it.

    Parameters
    ----------
    data, field : ndarray, of one shape
    zero : float
        From `scanner_zero`.
    """
    corrected: Array = (data - np.float32(zero)) / field + np.float32(zero)
    return corrected


def n4_log_field(
    data: Array, mask: BoolArray, zooms: tuple[float, float, float], *, spacing: float = N4_GRID
) -> Array:
    """Estimate the log bias field with N4 (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908).

    N4 runs inside the mask on a shrunken grid and its B-spline is evaluated at full size.

    Parameters
    ----------
    data : ndarray, shape (I, J, K)
        Positive intensities inside the mask.
    mask : ndarray of bool, shape (I, J, K)
    zooms : tuple of float
        Voxel sizes in mm.
    spacing : float
        Voxel size of the shrunken grid in mm.

    Returns
    -------
    ndarray of float32, shape (I, J, K)
        Natural logarithm of the field, with mean 0 inside the mask and 0 outside its box.
    """
    import SimpleITK as sitk  # a tenth of the program's start, for an option that few choose

    box = bounding_box(mask, margin=1)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data[box], dtype=np.float32))
    inside = sitk.GetImageFromArray(np.ascontiguousarray(mask[box]).astype(np.uint8))
    for volume in (image, inside):
        volume.SetSpacing(tuple(reversed(zooms)))  # SimpleITK's axes run the other way
    factors = [max(1, round(spacing / zoom)) for zoom in reversed(zooms)]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    # `one_itk_thread` reaches the B-spline fit that N4 makes for itself, this N4.
    n4.SetNumberOfWorkUnits(1)
    # Three levels: a fourth follows the cortex instead of the coil and costs 0.02 Dice.
    n4.SetMaximumNumberOfIterations([50, 50, 50])
    with one_itk_thread():
        n4.Execute(sitk.Shrink(image, factors), sitk.Shrink(inside, factors))
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).astype(np.float32)
    field -= field[mask[box]].mean(dtype=np.float64)
    out = np.zeros(data.shape, dtype=np.float32)
    out[box] = field
    return out


def n4_of_scan(data: Array, mask: BoolArray, zooms: tuple[float, float, float]) -> Array:
    """Estimate the log bias field of intensities as they come: outliers clipped, made positive.

    Parameters and result as of `n4_log_field`.
    """
    low, high = np.percentile(data[mask], [0.05, 99.95])
    positive = np.clip(data, low, high) - low + 0.05 * (high - low)
    return n4_log_field(positive, mask, zooms)


class LogField:
    """A smooth log bias field: low-order cosines with a bending penalty, grown step by step.

    The log field is ``sum_j c_j phi_j(x)``, phi_j being products of cosines along the axes with
    half-waves no shorter than `cutoff`, and ``-0.5 * stiffness * sum_j |k_j|^4 c_j^2`` its log
    prior (k_j the wave vector). Ashburner & Friston, NeuroImage 26 (2005) 839-851,
    doi:10.1016/j.neuroimage.2005.02.018. Samples are summed over cells of `CELL` mm before the
    least squares: the basis hardly varies inside one, and the cost no longer depends on their
    number.

    Parameters
    ----------
    shape, zooms
        Grid of the field; voxel sizes in mm.
    at : tuple of three integer arrays
        Voxel indices of the samples.
    cutoff : float
        Shortest half-wave in mm.
    """

    CELL = 6.0

    def __init__(
        self,
        shape: tuple[int, ...],
        zooms: tuple[float, float, float],
        at: tuple[NDArray[np.intp], ...],
        *,
        cutoff: float = 45.0,
    ) -> None:
        self._axes, waves, parts, cells, counts = [], [], [], [], []
        for n, zoom, index in zip(shape, zooms, at, strict=True):
            order = np.arange(int(n * zoom / cutoff) + 1)
            step = max(1, round(self.CELL / zoom))
            count = -(-n // step)
            centres = np.minimum((np.arange(count) + 0.5) * step, n) - 0.5
            self._axes.append(_cosines(np.arange(n, dtype=float), n, order))
            parts.append(_cosines(centres, n, order))
            waves.append(np.pi * order / (n * zoom))
            cells.append(index // step)
            counts.append(count)
        used, self._cell = np.unique(np.ravel_multi_index(cells, counts), return_inverse=True)
        i, j, k = np.unravel_index(used, counts)
        products = (
            parts[0][i][:, :, None, None]
            * parts[1][j][:, None, :, None]
            * parts[2][k][:, None, None, :]
        )
        self._basis = products.reshape(len(used), -1)
        squares = waves[0][:, None, None] ** 2 + waves[1][:, None] ** 2 + waves[2] ** 2
        self._bending = squares.ravel() ** 2
        self._at = at
        self._set(np.zeros(squares.shape))
        self._steps = 0
        self._flat = False

    def step(self, gradient: Array, curvature: Array) -> None:
        """Move to the maximum of a quadratic around the present field.

        Parameters
        ----------
        gradient, curvature : ndarray, shape (n,)
            First and negative second derivative of the log-likelihood by the log field, at each
            sample.
        """
        if self._flat:
            return
        n = len(self._basis)
        force = np.bincount(self._cell, gradient, n)
        weight = np.bincount(self._cell, curvature, n)
        stiffness = STIFFNESS * len(gradient)
        self._steps += 1
        if self._steps > SETTLING_STEPS:
            stiffness *= 0.25
        penalty = stiffness * self._bending
        # The constant belongs to the means of the tissues, not to the field.
        penalty[0] = 1e6 * max(weight.sum(), 1e-300)
        c = self._coefficients.ravel()
        normal = (self._basis.T * weight) @ self._basis
        normal.flat[:: len(c) + 1] += penalty
        c = c + np.linalg.solve(normal, self._basis.T @ force - penalty * c)
        self._set(c.reshape(self._coefficients.shape))

    def flatten(self) -> None:
        """Take the field back to zero, and let no step move it again."""
        self._set(np.zeros_like(self._coefficients))
        self._flat = True

    @property
    def is_weak(self) -> bool:
        """Whether it is too even to be a coil's: then it is anatomy, and not to be corrected."""
        return bool(self._at_samples.std() < LEAST_SD)

    def at_samples(self) -> NDArray[np.float64]:
        """Return the log field at the samples, shape (n,)."""
        return self._at_samples

    def _set(self, coefficients: NDArray[np.float64]) -> None:
        self._coefficients = coefficients
        plane = np.einsum("abc,ia->ibc", self._coefficients, self._axes[0])
        line = np.einsum("ibc,jb->ijc", plane, self._axes[1])
        i, j, k = self._at
        values: NDArray[np.float64] = np.einsum("nc,nc->n", line[i, j], self._axes[2][k])
        self._at_samples = np.clip(values, -LARGEST, LARGEST)

    def on_grid(self) -> NDArray[np.float32]:
        """Return the log field on the whole grid, shape (I, J, K)."""
        plane = np.einsum("abc,ia->ibc", self._coefficients, self._axes[0])
        line = np.einsum("ibc,jb->ijc", plane, self._axes[1]).astype(np.float32)
        field: NDArray[np.float32] = line @ self._axes[2].T.astype(np.float32)
        return np.clip(field, -LARGEST, LARGEST, out=field)


def _cosines(position: Array, n: int, order: Array) -> NDArray[np.float64]:
    """Cosines of a discrete cosine transform at voxel positions, shape (position, order)."""
    values: NDArray[np.float64] = np.cos(np.pi * (position[:, None] + 0.5) / n * order)
    return values
