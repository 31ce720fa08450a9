"""How well a segmentation agrees with a truth: overlap, volume and distance of surfaces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainseg.core.masking import bounding_box
from brainseg.core.volume import Array, BoolArray, FloatArray


@dataclass(frozen=True)
class Agreement:
    """How one tissue of a segmentation agrees with the truth.

    Attributes
    ----------
    name : str
    dice : float
        0..1, higher is better; see `dice`.
    volume_ml, truth_ml : float
        Volumes in mL.
    difference_ml, difference_percent : float
        Segmentation minus truth, in mL and in per cent of the truth; 0 is best. The per cent is
        NaN where the truth is empty.
    hausdorff95_mm : float
        mm, lower is better; see `hausdorff95`.
    """

    name: str
    dice: float
    volume_ml: float
    truth_ml: float
    difference_ml: float
    difference_percent: float
    hausdorff95_mm: float


def compare(
    segmentation: Array,
    truth: Array,
    groups: Mapping[str, tuple[Sequence[int], Sequence[int]]],
    *,
    zooms: tuple[float, float, float],
) -> list[Agreement]:
    """Score the groups of labels of two label maps on one grid.

    Parameters
    ----------
    segmentation, truth : ndarray of int, shape (I, J, K)
    groups : mapping
        Name of each row to the labels it merges in the segmentation and in the truth.
    zooms : tuple of float
        Voxel sizes in mm.

    Raises
    ------
    ValueError
        When the grids differ.
    """
    _same_grid(segmentation, truth)
    rows = []
    for name, (ours, theirs) in groups.items():
        a, b = np.isin(segmentation, list(ours)), np.isin(truth, list(theirs))
        millilitres, percent = volume_difference(a, b, zooms=zooms)
        unit = math.prod(zooms) / 1000.0
        rows.append(
            Agreement(
                name=name,
                dice=dice(a, b),
                volume_ml=int(a.sum()) * unit,
                truth_ml=int(b.sum()) * unit,
                difference_ml=millilitres,
                difference_percent=percent,
                hausdorff95_mm=hausdorff95(a, b, zooms=zooms),
            )
        )
    return rows


def dice(a: BoolArray, b: BoolArray) -> float:
    """Dice's coefficient 2 |A and B| / (|A| + |B|), 1 for two empty masks.

    References
    ----------
    Dice, Ecology 1945, doi:10.2307/1932409.
    """
    _same_grid(a, b)
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 1.0


def volume_difference(
    segmentation: BoolArray, truth: BoolArray, *, zooms: tuple[float, float, float]
) -> tuple[float, float]:
    """Volume of the segmentation minus that of the truth, in mL and in per cent of the truth.

    The per cent is NaN where the truth is empty.
    """
    _same_grid(segmentation, truth)
    n, reference = int(segmentation.sum()), int(truth.sum())
    percent = 100.0 * (n - reference) / reference if reference else math.nan
    return (n - reference) * math.prod(zooms) / 1000.0, percent


def hausdorff95(a: BoolArray, b: BoolArray, *, zooms: tuple[float, float, float]) -> float:
    """Hausdorff distance in mm with the 95th percentile in place of the maximum.

    The larger of the two directed distances: the 95th percentile, over the surface voxels of one
    mask, of the distance to the nearest surface voxel of the other. A surface voxel is one with
    a face towards the outside. 0 for two empty masks, infinite when only one is empty.

    References
    ----------
    Huttenlocher et al., IEEE TPAMI 1993, doi:10.1109/34.232073 (ranked distances);
    Taha & Hanbury, BMC Med Imaging 2015, doi:10.1186/s12880-015-0068-x (its use here).
    """
    _same_grid(a, b)
    if not a.any() or not b.any():
        return 0.0 if a.any() == b.any() else math.inf
    box = bounding_box(a | b, margin=1)
    inner_a, inner_b = a[box], b[box]
    surface_a, surface_b = _surface(inner_a), _surface(inner_b)
    return max(
        float(np.percentile(_distance_to(surface_b, zooms)[surface_a], 95)),
        float(np.percentile(_distance_to(surface_a, zooms)[surface_b], 95)),
    )


def _surface(mask: BoolArray) -> BoolArray:
    # border_value=0: a mask cut by the field of view has a surface there
    inside: BoolArray = ndimage.binary_erosion(mask, border_value=0)
    return mask & ~inside


def _distance_to(surface: BoolArray, zooms: tuple[float, float, float]) -> FloatArray:
    distance: FloatArray = ndimage.distance_transform_edt(~surface, sampling=zooms)
    return distance


def _same_grid(a: Array, b: Array) -> None:
    if a.shape != b.shape:
        raise ValueError(f"the grids differ: {a.shape} and {b.shape}")
