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
        mm, lower is better; see `hausdorff95`. Infinite where only one of the two is empty.
    mean_surface_mm : float
        mm, lower is better; see `mean_surface_distance`.
    surface_dice : float
        0..1, higher is better; see `surface_dice`.
    """

    name: str
    dice: float
    volume_ml: float
    truth_ml: float
    difference_ml: float
    difference_percent: float
    hausdorff95_mm: float
    mean_surface_mm: float
    surface_dice: float


def compare(
    segmentation: Array,
    truth: Array,
    groups: Mapping[str, tuple[Sequence[int], Sequence[int]]],
    *,
    zooms: tuple[float, float, float],
    tolerance_mm: float = 1.0,
) -> list[Agreement]:
    """Score the groups of labels of two label maps on one grid.

    Parameters
    ----------
    segmentation, truth : ndarray of int, shape (I, J, K)
    groups : mapping
        Name of each row to the labels it merges in the segmentation and in the truth.
    zooms : tuple of float
        Voxel sizes in mm.
    tolerance_mm : float
        Of the surface Dice.

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
        apart = surface_distances(a, b, zooms=zooms)
        rows.append(
            Agreement(
                name=name,
                dice=dice(a, b),
                volume_ml=int(a.sum()) * unit,
                truth_ml=int(b.sum()) * unit,
                difference_ml=millilitres,
                difference_percent=percent,
                hausdorff95_mm=_hausdorff95(*apart),
                mean_surface_mm=_mean(*apart),
                surface_dice=_within(*apart, tolerance_mm),
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
    mask, of the distance to the nearest surface voxel of the other. 0 for two empty masks, infinite
    when only one is empty.

    References
    ----------
    Huttenlocher et al., IEEE TPAMI 1993, doi:10.1109/34.232073 (ranked distances);
    Taha & Hanbury, BMC Med Imaging 2015, doi:10.1186/s12880-015-0068-x (its use here).
    """
    return _hausdorff95(*surface_distances(a, b, zooms=zooms))


def mean_surface_distance(
    a: BoolArray, b: BoolArray, *, zooms: tuple[float, float, float]
) -> float:
    """Mean distance in mm from the surface voxels of each mask to the surface of the other.

    All surface voxels of both masks count alike. 0 for two empty masks, infinite when only one is
    empty.
    """
    return _mean(*surface_distances(a, b, zooms=zooms))


def surface_dice(
    a: BoolArray,
    b: BoolArray,
    *,
    zooms: tuple[float, float, float],
    tolerance_mm: float = 1.0,
) -> float:
    """Share of the surface voxels of both masks that lie within a tolerance of the other surface.

    1 for two empty masks, 0 when only one is empty.

    References
    ----------
    Nikolov et al., J Med Internet Res 2021, doi:10.2196/26151; there surfaces are meshes, here
    voxels, so tolerances below a voxel mean nothing.
    """
    return _within(*surface_distances(a, b, zooms=zooms), tolerance_mm)


def surface_distances(
    a: BoolArray, b: BoolArray, *, zooms: tuple[float, float, float]
) -> tuple[FloatArray, FloatArray]:
    """Distances in mm of the surface voxels of each mask to the nearest one of the other.

    A surface voxel is one with a face towards the outside. Both are empty for two empty masks, and
    infinite when only one is empty.
    """
    _same_grid(a, b)
    if not (a.any() and b.any()):
        far = [np.full(int(_surface(m).sum()), math.inf) for m in (a, b)]
        return far[0], far[1]
    box = bounding_box(a | b, margin=1)
    surface_a, surface_b = _surface(a[box]), _surface(b[box])
    return (
        _distance_to(surface_b, zooms)[surface_a],
        _distance_to(surface_a, zooms)[surface_b],
    )


def _hausdorff95(ours: FloatArray, theirs: FloatArray) -> float:
    if not (ours.size and theirs.size):
        return math.inf if ours.size or theirs.size else 0.0
    return max(float(np.percentile(d, 95)) for d in (ours, theirs))


def _mean(ours: FloatArray, theirs: FloatArray) -> float:
    both = np.concatenate([ours, theirs])
    return float(both.mean()) if both.size else 0.0


def _within(ours: FloatArray, theirs: FloatArray, tolerance_mm: float) -> float:
    both = np.concatenate([ours, theirs])
    return float((both <= tolerance_mm).mean()) if both.size else 1.0


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
