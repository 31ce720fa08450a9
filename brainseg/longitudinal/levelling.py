"""Bring aligned sessions to one level: gains, smooth and fine shades, and slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brainseg.alignment.contrasts import align_contrast
from brainseg.alignment.midspace import MidSpace
from brainseg.alignment.sessions import Session
from brainseg.core.volume import BoolArray, Volume
from brainseg.longitudinal.matching import (
    differential_fields,
    local_fields,
    matched_gains,
    robust_mean,
    slice_axis,
    slice_gains,
)

# Rounds of removing differential bias fields: the mean that they refer to has them in it at first.
_MATCHING_ROUNDS = 2


def level(
    visits: Sequence[Session],
    aligned: Sequence[NDArray[np.float32]],
    space: MidSpace,
    mask: BoolArray,
    *,
    threads: int = 1,
) -> list[NDArray[np.float32]]:
    """Remove gains and differential bias fields, of whole sessions and of their slices.

    Parameters
    ----------
    visits : sequence of Session
    aligned : sequence of ndarray of float32, shape (I, J, K)
        Their T1w scans in the common space.
    space : MidSpace
    mask : ndarray of bool, shape (I, J, K)
        Brain of all sessions.
    threads : int
        Sessions side by side; the result does not depend on it.
    """
    factors, out = _smooth_factors(aligned, space.zooms, mask)
    if any(slice_axis(visit.volume.zooms) is not None for visit in visits):
        again = _without_slice_gains(visits, aligned, space, mask, (factors, out))
        out = _smooth_factors(again, space.zooms, mask)[1]
    shades = local_fields(out, mask, space.zooms, threads=threads)
    for session, shade in zip(out, shades, strict=True):
        session /= np.exp(shade)
    return out


def _without_slice_gains(
    visits: Sequence[Session],
    aligned: Sequence[NDArray[np.float32]],
    space: MidSpace,
    mask: BoolArray,
    smooth: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]],
) -> list[NDArray[np.float32]]:
    """Bring the sessions that were measured in slices anew, without the gains of these.

    `smooth` is what `_smooth_factors` returned.
    """
    factors, out = smooth
    mean = np.where(mask, robust_mean(out), np.float32(0))
    again = []
    for i, visit in enumerate(visits):
        axis = slice_axis(visit.volume.zooms)
        if axis is None:
            again.append(aligned[i])
            continue
        model, inside = space.carry_back(i, visit.volume, [mean * factors[i], mask])
        gains = slice_gains(visit.volume.data, model, inside > 0.99, axis)
        again.append(space.bring(i, visit.volume.with_data(visit.volume.data / gains)))
    return again


def level_contrast(
    visits: Sequence[Session], space: MidSpace, mean: Volume, mask: BoolArray, name: str
) -> list[NDArray[np.float32]]:
    """Align a contrast of every session to the mean of the T1w scans, and match the sessions.

    Each is resampled once. Where one session was not measured, all get the mean of the others:
    the edge of a field of view is no change. Fine shades stay: a lesion is one.

    Parameters
    ----------
    visits : sequence of Session
    space : MidSpace
    mean : Volume
        Mean of the T1w scans in the common space.
    mask : ndarray of bool, shape (I, J, K)
    name : str

    Raises
    ------
    DataError
        From `align_contrast`.
    """
    brought = []
    for visit, pose in zip(visits, space.poses, strict=True):
        scan = visit.contrasts[name]
        moved = Volume(scan.data, pose @ scan.affine)
        brought.append(align_contrast(moved, mean, mask=mask, name=name))
    seen = [scan != 0 for scan in brought]
    count = np.sum(seen, axis=0)
    everywhere = count == len(seen)
    out = _smooth_factors(brought, space.zooms, mask & everywhere)[1]
    others = np.sum([scan * s for scan, s in zip(out, seen, strict=True)], axis=0)
    others /= np.maximum(count, 1)
    return [np.where(everywhere, scan, others).astype(np.float32) for scan in out]


def _smooth_factors(
    aligned: Sequence[NDArray[np.float32]], zooms: tuple[float, float, float], mask: BoolArray
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return each session's gain times its differential field, and the sessions without them."""
    gains = matched_gains(aligned, mask)
    out = [s / np.float32(gain) for s, gain in zip(aligned, gains, strict=True)]
    factors = [np.full(mask.shape, gain, np.float32) for gain in gains]
    for _ in range(_MATCHING_ROUNDS):
        fields = differential_fields(out, mask, zooms)
        for i, field in enumerate(fields):
            bias = np.exp(field)
            out[i] /= bias
            factors[i] *= bias
    return factors, out
