"""Is a mask a brain at all? Numbers a reader can check, and the limits set on them."""

from __future__ import annotations

import numpy as np

from brainseg.core.masking import largest_part
from brainseg.core.volume import BoolArray, Volume

VOLUME_ML = (600.0, 2200.0)
"""A child of one year has about 900 mL inside the dura, the largest adults about 2000 mL."""
SMALLEST_ML = 150.0
"""Below this there is no brain in the picture that would be worth segmenting."""
MAIN_PART = 0.98
"""Share of the mask in its largest connected part."""
LOWEST_CONFIDENCE = 0.80


def measure(volume: Volume, mask: BoolArray) -> dict[str, float]:
    """Measure a mask.

    Parameters
    ----------
    volume : Volume
    mask : ndarray of bool, shape (I, J, K)

    Returns
    -------
    dict
        ``volume_ml``; ``main_part``, the share of the largest connected part; ``cut``, the share
        of the mask's voxels on the faces of the grid; ``compactness``, the volume over that of an
        ellipsoid with the mask's second moments (about 1 for a brain, less for scattered masks).
    """
    total = int(mask.sum())
    if total == 0:
        return {"volume_ml": 0.0, "main_part": 0.0, "cut": 0.0, "compactness": 0.0}
    faces = sum(int(mask.take(end, axis=a).sum()) for a in range(3) for end in (0, -1))
    points = np.argwhere(mask[::2, ::2, ::2]) * (2 * np.array(volume.zooms))
    compactness = 0.0
    if len(points) > 10:
        # an ellipsoid with semi-axes s has variances s^2 / 5 along them
        spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(points.T)), 1e-6))
        ellipsoid = 4 / 3 * np.pi * 5**1.5 * float(np.prod(spread)) / 1000
        compactness = total * volume.voxel_volume / ellipsoid
    return {
        "volume_ml": total * volume.voxel_volume,
        "main_part": largest_part(mask)[1],
        "cut": faces / total,
        "compactness": compactness,
    }


def doubts(checks: dict[str, float], confidence: float | None) -> tuple[str, ...]:
    """Return what makes a mask implausible, in words; empty when nothing does.

    A brain that the field of view cuts may be small: then only its volume's upper limit counts.
    """
    found = []
    low, high = VOLUME_ML
    if checks["cut"] > 0.002:
        low = SMALLEST_ML
    if not low <= checks["volume_ml"] <= high:
        found.append(f"{checks['volume_ml']:.0f} mL is outside {low:.0f}-{high:.0f} mL")
    if checks["main_part"] < MAIN_PART:
        found.append(f"only {checks['main_part']:.0%} of it is in one piece")
    if checks["volume_ml"] > 0 and not 0.6 <= checks["compactness"] <= 1.25:
        found.append(f"its shape is not a brain's (compactness {checks['compactness']:.2f})")
    if confidence is not None and confidence < LOWEST_CONFIDENCE:
        found.append(f"its confidence is {confidence:.2f}, below {LOWEST_CONFIDENCE:.2f}")
    return tuple(found)
