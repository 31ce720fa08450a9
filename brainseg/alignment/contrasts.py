"""Bring another contrast of the same person onto the T1w scan's grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize, special
from scipy.spatial.transform import Rotation

from brainseg.core.volume import BoolArray, FloatArray, Volume
from brainseg.errors import DataError

# Mutual information is a statistic of the whole brain: 4 mm sees all that six parameters need.
COARSE_MM = (8.0, 4.0)
BINS = 32
BRAIN_RADIUS_MM = 75.0
# A person moves a few centimetres between two contrasts of one session, not more.
FARTHEST_MM = 60.0


def align_contrast(
    moving: Volume, fixed: Volume, *, mask: BoolArray, name: str
) -> NDArray[np.float32]:
    """Register rigidly by mutual information, from the two headers' own start, and resample once.

    Parameters
    ----------
    moving : Volume
        T2w, FLAIR or PDw of the same person and session.
    fixed : Volume
        The T1w scan.
    mask : ndarray of bool, shape of `fixed`
        Its brain mask: what the head outside does (jaw, eyes, face) does not count.
    name : str
        How errors call the contrast.

    Returns
    -------
    ndarray of float32, shape of `fixed`
        Linear interpolation; 0 outside the moving scan's field of view.

    Raises
    ------
    DataError
        When the two scans do not overlap, or end up far from where their headers put them.

    References
    ----------
    Studholme et al., Pattern Recognition 1999, doi:10.1016/S0031-3203(98)00091-0.
    """
    return _resample(
        moving, fixed, register_contrast(moving, fixed, mask=mask, name=name), mask, name
    )


def register_contrast(
    moving: Volume, fixed: Volume, *, mask: BoolArray, name: str
) -> NDArray[np.float64]:
    """Find where a scan lies; parameters and errors as of `align_contrast`.

    Returns
    -------
    ndarray, shape (4, 4)
        Maps mm along the fixed scan's axes to mm along the moving one's.
    """
    frame = _voxel_frame(moving.affine, moving.zooms, fixed.affine, fixed.zooms)
    return np.asarray(frame @ _register(moving, fixed, mask, frame, name))


def _voxel_frame(
    moving: NDArray[np.float64],
    moving_zooms: tuple[float, float, float],
    fixed: NDArray[np.float64],
    fixed_zooms: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Map mm along the fixed scan's axes to mm along the moving one's, as the headers say."""
    to_world = fixed @ np.diag([*(1 / np.array(fixed_zooms)), 1.0])
    from_world = np.diag([*moving_zooms, 1.0]) @ np.linalg.inv(moving)
    return np.asarray(from_world @ to_world)


def _register(
    moving: Volume, fixed: Volume, mask: BoolArray, frame: NDArray[np.float64], name: str
) -> NDArray[np.float64]:
    """Return the rigid motion, in the fixed scan's frame, that the headers do not know of."""
    centre = np.array(ndimage.center_of_mass(mask)) * fixed.zooms
    motion = np.zeros(6)
    for spacing in COARSE_MM:
        steps = [max(1, round(spacing / z)) for z in fixed.zooms]
        lattice = tuple(slice(None, None, s) for s in steps)
        index = np.argwhere(mask[lattice]) * steps
        points = index * fixed.zooms
        fixed_bins = _bins(_smooth(fixed, spacing)[tuple(index.T)])
        blurred = _smooth(moving, spacing)
        inverse = 1 / np.array(moving.zooms)[:, None]

        def disagreement(
            x: NDArray[np.float64],
            points: FloatArray = points,
            fixed_bins: NDArray[np.intp] = fixed_bins,
            blurred: NDArray[np.float32] = blurred,
            inverse: FloatArray = inverse,
        ) -> float:
            matrix = frame @ _rigid(x, centre)
            at = (matrix[:3, :3] @ points.T + matrix[:3, 3:]) * inverse
            values = ndimage.map_coordinates(blurred, at, order=1, cval=np.nan)
            return -_mutual_information(fixed_bins, values)

        if not np.isfinite(disagreement(motion)):
            raise DataError(
                f"{name}: does not overlap with the T1w scan where the headers put them; "
                "are both of the same person and session?"
            )
        found = optimize.minimize(
            disagreement, motion, method="Powell",
            options={"xtol": 0.02, "ftol": 1e-5, "direc": np.diag([spacing / 2] * 6)},
        )  # fmt: skip
        motion = found.x
    moved = float(np.abs(motion).max())
    if moved > FARTHEST_MM:
        raise DataError(
            f"{name}: would have to move by {moved:.0f} mm to meet the T1w scan; "
            "are both of the same person and session?"
        )
    return _rigid(motion, centre)


def _rigid(x: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Three angles, as mm of arc at the brain's surface, and three shifts in mm."""
    matrix = np.eye(4)
    turn = Rotation.from_euler("xyz", x[:3] / BRAIN_RADIUS_MM).as_matrix()
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre + x[3:] - turn @ centre
    return matrix


def _mutual_information(fixed_bins: NDArray[np.intp], values: NDArray[np.float32]) -> float:
    """Normalised mutual information (H(a) + H(b)) / H(a, b) where the moving scan is seen."""
    seen = np.isfinite(values)
    if np.count_nonzero(seen) < 0.3 * values.size:
        return -np.inf
    joint = np.bincount(fixed_bins[seen] * BINS + _bins(values[seen]), minlength=BINS**2)
    p = joint.reshape(BINS, BINS) / joint.sum()
    h_joint = -special.xlogy(p, p).sum()
    h_one, h_other = (-special.xlogy(q, q).sum() for q in (p.sum(axis=0), p.sum(axis=1)))
    return float((h_one + h_other) / h_joint) if h_joint > 0 else -np.inf


def _bins(values: NDArray[np.float32]) -> NDArray[np.intp]:
    low, high = np.percentile(values, [1, 99])
    scaled = (values - low) * (BINS / (float(high - low) or 1.0))
    out: NDArray[np.intp] = np.clip(scaled, 0, BINS - 1).astype(np.intp)
    return out


def _smooth(volume: Volume, spacing: float) -> NDArray[np.float32]:
    sigma = [max(spacing / z - 1, 0) / 2 for z in volume.zooms]
    out: NDArray[np.float32] = ndimage.gaussian_filter(volume.data, sigma, truncate=2)
    return out


def _resample(
    moving: Volume, fixed: Volume, matrix: NDArray[np.float64], mask: BoolArray, name: str
) -> NDArray[np.float32]:
    """Interpolate the moving scan on the fixed grid; `matrix` maps mm to mm between frames."""
    index = np.diag([*(1 / np.array(moving.zooms)), 1.0]) @ matrix @ np.diag([*fixed.zooms, 1.0])
    sampled: NDArray[np.float32] = ndimage.affine_transform(
        moving.data, index[:3, :3], index[:3, 3], output_shape=fixed.shape, order=1,
        output=np.float32,
    )  # fmt: skip
    seen = float((sampled[mask] != 0).mean())
    if seen < 0.5:
        raise DataError(f"{name}: shows only {100 * seen:.0f} % of the brain of the T1w scan")
    return sampled
