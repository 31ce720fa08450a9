"""Slices in space: whether they form one regular volume, and the volume that they form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.core.volume import Array
from brainseg.errors import DataError

Vector = NDArray[np.float64]

SAME_DIRECTION = 1e-3
"""Largest difference of direction cosines within a series: 0.06 degrees, or 0.25 mm at the rim of
a slice. Scanners round them to six digits, some converters to four."""
SAME_SPACING = 1e-3
"""Largest relative difference of pixel spacings within a series; they are rounded, too."""
OFF_PLACE = 0.1
"""A slice may lie so far from its regular place, in voxels: more than rounding, and less than what
an image shows."""
DRIFT = 0.5
"""Sideways drift over the whole stack, in pixels, up to which slices count as stacked straight."""
STEEPEST = 45.0
"""Degrees of tilt beyond which the slices are not tilted but lie in another direction."""
DECIMATED = 1.5
"""Slices this many times as far apart as their header says have others missing between them."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One image of a series: where it lies and what it belongs to.

    Attributes
    ----------
    file : str
        Base name of its file.
    frame : int
        Its number in the file, from 0.
    shape : tuple of int
        Rows and columns.
    position : ndarray, shape (3,)
        Centre of the first pixel in mm, DICOM's patient axes (left, posterior, superior).
    directions : ndarray, shape (2, 3)
        Unit vectors along a row (to the next column) and along a column (to the next row).
    spacing : tuple of float
        mm between columns and between rows.
    gap : float or None
        mm between slices, as its header says.
    scaling : tuple of float
        Slope and intercept of the stored values.
    belongs : tuple of (str, str)
        What all slices of one volume share, for example a patient: name of it, and its value.
    """

    file: str
    frame: int
    shape: tuple[int, int]
    position: Vector
    directions: Vector
    spacing: tuple[float, float]
    gap: float | None
    scaling: tuple[float, float]
    belongs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class Stack:
    """How slices form a volume.

    Attributes
    ----------
    order : tuple of int
        Positions in the list of slices, along the stack.
    planes : tuple of int
        Plane of the volume that each of them fills, in the same order.
    affine : ndarray, shape (4, 4)
        Voxel indices (column, row, plane) to world coordinates (RAS+, mm).
    drift : tuple of float
        Columns and rows by which each plane lies beside the one before; 0, 0 in a straight stack.
    notes : tuple of str
        What a reader should know of the volume.
    """

    order: tuple[int, ...]
    planes: tuple[int, ...]
    affine: NDArray[np.float64]
    drift: tuple[float, float]
    notes: tuple[str, ...]


def arrange(slices: Sequence[Slice], name: str) -> Stack:
    """Put slices in order.

    One missing slice and a uniform tilt are borne, and said in the notes.

    Parameters
    ----------
    slices : sequence of Slice
    name : str
        What messages call the series.

    Raises
    ------
    DataError
        When they are no single regular volume; the message names the files that do not fit.
    """
    if len(slices) < 2:
        raise DataError(f"{name}: a single slice; give the folder of the whole series")
    _require_one_volume(slices, name)
    across, down = slices[0].directions
    normal = np.cross(across, down)
    positions = np.stack([s.position for s in slices])
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [slices[n] for n in order]
    places = (positions - positions[order[0]])[order] @ np.stack([across, down, normal]).T
    _require_one_place_each(ordered, places[:, 2], name)
    planes, step, notes = _planes(ordered, places[:, 2], name)
    drift = _drift(ordered, places[:, :2], planes, name)
    dx, dy = slices[0].spacing
    if drift != (0.0, 0.0):
        angle = np.degrees(np.arctan(np.hypot(drift[0] * dx, drift[1] * dy) / step))
        if angle > STEEPEST:
            raise DataError(
                f"{name}: each slice lies beside the one before, {angle:.0f} degrees aslant; "
                "these are no slices of one volume"
            )
        notes.append(
            f"the slices are stacked with a tilt of {angle:.1f} degrees; they were resampled onto "
            "a straight grid"
        )
    if (gap := slices[0].gap) and step > DECIMATED * gap:
        notes.append(
            f"slices lie {step:.3g} mm apart, but the header says {gap:.3g} mm; are some missing?"
        )
    affine = np.eye(4)
    affine[:3, :3] = np.stack([across * dx, down * dy, normal * step], axis=1)
    affine[:3, 3] = ordered[0].position
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return Stack(tuple(order.tolist()), planes, lps_to_ras @ affine, drift, tuple(notes))


def assemble(images: Sequence[Array], stack: Stack) -> tuple[Array, NDArray[np.float64]]:
    """Build the volume from its slices.

    Parameters
    ----------
    images : sequence of ndarray, shape (rows, columns)
        In the order of the stack.
    stack : Stack

    Returns
    -------
    ndarray, shape (columns, rows, planes)
    ndarray, shape (4, 4)
        Its affine: a tilted stack needs a wider grid.
    """
    data: Array = np.stack(images).T
    depth = stack.planes[-1] + 1
    if depth > data.shape[2]:
        gap = next(n for n in range(depth) if n not in stack.planes)
        between = data[:, :, gap - 1 : gap + 1].mean(axis=2, dtype=np.float32, keepdims=True)
        data = np.concatenate([data[:, :, :gap], between, data[:, :, gap:]], axis=2)
    if stack.drift == (0.0, 0.0):
        return data, stack.affine
    i, j = stack.drift
    wide = [int(np.ceil(abs(d) * (depth - 1))) for d in (i, j)]
    start = [min(0.0, d * (depth - 1)) for d in (i, j)]
    low = data.min()
    straight = np.full((data.shape[0] + wide[0], data.shape[1] + wide[1], depth), low, np.float32)
    for k in range(depth):
        straight[:, :, k] = low
        straight[: data.shape[0], : data.shape[1], k] = data[:, :, k]
        shift = (i * k - start[0], j * k - start[1])
        straight[:, :, k] = ndimage.shift(straight[:, :, k], shift, order=1, cval=low)
    affine = stack.affine.copy()
    affine[:3, 3] += affine[:3, 0] * start[0] + affine[:3, 1] * start[1]
    return straight, affine


def named(files: Sequence[str]) -> str:
    """List file names, the first three of many."""
    distinct = list(dict.fromkeys(files))
    more = f" and {len(distinct) - 3} more" if len(distinct) > 3 else ""
    return ", ".join(distinct[:3]) + more


def _require_one_volume(slices: Sequence[Slice], name: str) -> None:
    """Refuse slices of different sizes, directions, patients, echoes and the like."""
    first = slices[0]
    shared = [("sizes", [str(s.shape) for s in slices])]
    for what in dict(first.belongs):
        shared.append((what, [dict(s.belongs)[what] for s in slices]))
    for what, values in shared:
        counts = Counter(values)
        if len(counts) > 1:
            usual = counts.most_common(1)[0][0]
            other = [s.file for s, v in zip(slices, values, strict=True) if v != usual]
            raise DataError(
                f"{name}: slices of {len(counts)} different {what} ({named(other)} differ from "
                "most); give the slices of one volume"
            )
    turned = [s.file for s in slices if np.abs(s.directions - first.directions).max()
              > SAME_DIRECTION]  # fmt: skip
    if turned:
        raise DataError(
            f"{name}: slices that are not parallel ({named(turned)}); is a localizer among them?"
        )
    scaled = [s.file for s in slices if not np.allclose(s.spacing, first.spacing,
                                                        rtol=SAME_SPACING, atol=0)]  # fmt: skip
    if scaled:
        raise DataError(f"{name}: slices of different pixel spacings ({named(scaled)})")


def _require_one_place_each(ordered: Sequence[Slice], heights: Vector, name: str) -> None:
    """Refuse several images at one place: a series over time, echoes, copies."""
    steps = np.diff(heights)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    same = np.flatnonzero(steps < OFF_PLACE * usual)
    if same.size:
        pair = named([s.file for s in ordered[same[0] : same[0] + 2]])
        raise DataError(
            f"{name}: {same.size + 1} or more images share their places, as {pair} do; is it a "
            "series over time, of echoes or with copies? Give the slices of one volume"
        )


def _planes(
    ordered: Sequence[Slice], heights: Vector, name: str
) -> tuple[tuple[int, ...], float, list[str]]:
    """Return the planes of slices, their distance in mm, and a note of what is missing."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    planes = np.concatenate([[0], np.cumsum(np.maximum(np.rint(steps / usual), 1))]).astype(int)
    step = float(heights[-1] / planes[-1])
    off = np.abs(heights / step - planes)
    if off.max() > OFF_PLACE:
        wrong = [ordered[n].file for n in np.flatnonzero(off > OFF_PLACE).tolist()]
        raise DataError(
            f"{name}: slices are not evenly spaced ({steps.min():.3g} to {steps.max():.3g} mm "
            f"apart; {named(wrong)} lie off the others' distance); is it one whole series?"
        )
    gaps = np.flatnonzero(np.diff(planes) > 1).tolist()
    lost = int(planes[-1] + 1 - len(ordered))
    if not lost:
        return tuple(planes.tolist()), step, []
    where = f"{ordered[gaps[0]].file} and {ordered[gaps[0] + 1].file}"
    if lost > 1:
        raise DataError(f"{name}: {lost} slices are missing, the first between {where}; find them")
    return (
        tuple(planes.tolist()),
        step,
        [f"a slice is missing between {where}; it was interpolated"],
    )


def _drift(
    ordered: Sequence[Slice], sideways: Vector, planes: tuple[int, ...], name: str
) -> tuple[float, float]:
    """Return columns and rows by which each plane lies beside the one before."""
    pixels = sideways / np.array(ordered[0].spacing)
    drift = pixels[-1] / planes[-1]
    off = np.abs(pixels - np.outer(planes, drift)).max(axis=1)
    if off.max() > OFF_PLACE and np.abs(pixels).max() > DRIFT:
        wrong = [ordered[n].file for n in np.flatnonzero(off > OFF_PLACE).tolist()]
        raise DataError(
            f"{name}: slices lie beside each other by up to {off.max():.3g} pixels "
            f"({named(wrong)}); they are no single volume"
        )
    # Along each axis by itself, so that rounding along one does not widen the grid.
    i, j = np.where(np.abs(pixels).max(axis=0) <= DRIFT, 0.0, drift).tolist()
    return i, j
