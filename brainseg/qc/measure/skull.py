"""Whether the skull of a whole head is closed, and how thick it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.core.masking import bounding_box, largest_part
from brainseg.core.volume import Array, BoolArray
from brainseg.tissues.shells import TOUCHING, intracranial
from brainseg.tissues.whole_head import BONE, CSF

BASE = 2 / 3
"""Share of the height of what lies inside the skull below which the skull may be open: there are
the foramina of its base, the orbits and the sinuses. A head whose chin is raised has its orbits
and its frontal sinus at half of the height."""
HOLE_MM2 = 10.0
"""Area from which an opening is a hole: below it are veins that pass the bone, and rough edges."""
THICKEST_MM = 25.0
"""Bone that lies further from the inside of the skull than this belongs to the face."""


@dataclass(frozen=True, eq=False)
class Skull:
    """What was measured of a skull.

    Attributes
    ----------
    holes : int
        Openings of at least `HOLE_MM2` above the base: from outside the head one comes through
        them to what lies inside the skull without passing bone.
    open_cm2 : float
        Their area together.
    median_mm : float or None
        Median thickness above the base; None where there is no bone.
    thickness : ndarray of float32, shape (I, J, K)
        At the outer surface of the bone the distance in mm to the inside of the skull, 0 elsewhere.
    """

    holes: int
    open_cm2: float
    median_mm: float | None
    thickness: NDArray[np.float32]


def measure_skull(labels: NDArray[np.uint8], zooms: tuple[float, float, float]) -> Skull:
    """Measure the skull.

    Parameters
    ----------
    labels : ndarray of uint8, shape (I, J, K)
        By `brainseg.tissues.tables.HEAD`.
    zooms : tuple of float
        Voxel sizes in mm.
    """
    whole = intracranial(labels, zooms)
    box = bounding_box(whole, margin=round(THICKEST_MM / min(zooms)) + 1)
    inside, bone = whole[box], labels[box] == BONE
    height = bounding_box(inside)[2]
    base = height.start + round(BASE * (height.stop - height.start))
    upper = np.s_[..., base:]
    holes = _openings(inside[upper], _outside(bone[upper], inside[upper]), zooms)
    surface = bone & ndimage.binary_dilation(_outside(bone, inside))
    distance = ndimage.distance_transform_edt(~inside, sampling=zooms).astype(np.float32)
    surface &= distance <= THICKEST_MM
    thickness = np.zeros(labels.shape, np.float32)
    thickness[box][surface] = distance[surface]
    above = distance[upper][surface[upper]]
    median = float(np.median(above)) if above.size else None
    return Skull(len(holes), float(holes.sum()) / 100, median, thickness)


def numbers(
    skull: Skull, labels: NDArray[np.uint8], told: Mapping[str, Any]
) -> dict[str, float | None]:
    """Return the quality numbers of the whole head.

    Parameters
    ----------
    skull : Skull
    labels : ndarray of uint8, shape (I, J, K)
        By `brainseg.tissues.tables.HEAD`.
    told : mapping
        What the record says of the head.
    """
    brain = labels < CSF
    around = int(np.count_nonzero(ndimage.binary_dilation(brain) & ~brain))
    return {
        "skull_open_cm2": skull.open_cm2,
        "skull_holes": float(skull.holes),
        "skull_mm": skull.median_mm,
        "brain_touching": told["moved_voxels"][TOUCHING] / max(around, 1),
        "total_intracranial_volume_ml": told["total_intracranial_volume_ml"],
    }


def _outside(bone: BoolArray, inside: BoolArray) -> BoolArray:
    """Return what can be reached from outside the head without passing bone."""
    return largest_part(~bone & ~inside)[0]


def _openings(
    inside: BoolArray, outside: BoolArray, zooms: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return the area in mm2 of each opening between inside and outside that is large enough."""
    area = np.zeros(inside.shape)
    for axis in range(3):
        face = float(np.prod(zooms)) / zooms[axis]
        here, there = _along(area, axis)
        near, far = (_along(a, axis) for a in (inside, outside))
        here += face * (near[0] & far[1])
        there += face * (near[1] & far[0])
    pieces, n = ndimage.label(area > 0, structure=np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(area, pieces, np.arange(1, n + 1))
    return np.asarray(sizes, np.float64)[np.asarray(sizes) >= HOLE_MM2]


def _along(data: Array, axis: int) -> tuple[Array, Array]:
    """Return views of all but the last and all but the first plane of an axis."""
    moved = np.moveaxis(data, axis, 0)
    return moved[:-1], moved[1:]
