"""Rigid motions for the tests of what aligns sessions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


def motion(
    degrees: tuple[float, float, float], shift: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return a turn about the world's axes, then a shift in mm, shape (4, 4)."""
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    out[:3, 3] = shift
    return out
