"""Rigid motions: their logarithms, and the pose that many of them agree on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Matrix = NDArray[np.float64]

# A brain's surface moves by less than a nanometre in a step this small (mm, and radians).
_SETTLED = 1e-9
# The mean of motions that contradict each other by some tenths of a millimetre settles in ten.
_MOST_ROUNDS = 50


def logarithm(motion: Matrix) -> Matrix:
    """Return the matrix logarithm of a rigid motion, shape (4, 4).

    That of the identity is exactly zero. A turn by half a circle has no unique logarithm.
    """
    found = np.real(linalg.logm(motion))
    return np.asarray(found, np.float64)


def exponential(log_motion: Matrix) -> Matrix:
    """Return the rigid motion of a logarithm, shape (4, 4)."""
    return np.asarray(linalg.expm(log_motion), np.float64)


def middle_poses(between: Sequence[Sequence[Matrix]]) -> list[Matrix]:
    """Find a common space in the middle of all sessions, none of which is the reference.

    Two sessions meet halfway: each moves by a square root of the motion between them. For more,
    each pose is the mean of what all pairs say about it (a mean of logarithms), iterated until
    nothing moves.

    Parameters
    ----------
    between : sequence of sequence of ndarray, shape (4, 4)
        ``between[t][s]`` maps the world of session `s` to that of session `t`; ``between[s][t]``
        is its inverse, and ``between[s][s]`` the identity.

    Returns
    -------
    list of ndarray, shape (4, 4)
        For each session the motion from its world to the common space.

    References
    ----------
    Reuter, Rosas & Fischl, NeuroImage 2010, doi:10.1016/j.neuroimage.2010.07.020 (meeting
    halfway); Arsigny et al., SIAM J Matrix Anal Appl 2007, doi:10.1137/050637996 (means of
    logarithms).
    """
    n = len(between)
    poses = [
        exponential(np.sum([logarithm(between[t][s]) for t in range(n)], axis=0) / n)
        for s in range(n)
    ]
    for _ in range(_MOST_ROUNDS):
        steps = [
            np.sum(
                [logarithm(poses[t] @ between[t][s] @ np.linalg.inv(poses[s])) for t in range(n)],
                axis=0,
            ) / n
            for s in range(n)
        ]  # fmt: skip
        if max(float(np.abs(step).max()) for step in steps) < _SETTLED:
            break
        poses = [exponential(step) @ pose for step, pose in zip(steps, poses, strict=True)]
    return poses
