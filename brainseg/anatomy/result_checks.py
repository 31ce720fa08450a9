"""Does a result agree with what the head network sees? Arrays in, numbers out.

All is measured on the network's own grid and in mm, and the network was trained on every contrast.
So no number depends on the scan's voxel size or on its unit of intensity, and those of the mask
do not depend on the contrast. The limits stand in `brainseg.qc.measure.verdict`; their origin is
`pipelines/calibrate_checks.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.anatomy import views
from brainseg.anatomy.classes import CLASSES
from brainseg.anatomy.head import HeadMap
from brainseg.core.masking import bounding_box, largest_part, scatter
from brainseg.core.volume import Array, BoolArray

Float32 = NDArray[np.float32]
Zooms = tuple[float, float, float]

SURELY = 0.9
"""Probability above which the network is taken to be sure that a voxel is no brain."""
LIKELY = 0.7
"""Probability of a class above which its tissue is compared: borders are left out."""
NEAR_MM = 6.0
"""Standard deviation of the Gaussian in which neighbours are counted: about half a pole of a lobe.
Of 6 and 9 mm it sets lobes' poles that are missing furthest apart from good masks."""
DEEP_ML = 1.0
"""Volume that is called deepest or furthest: less may be a vessel or an error of the map."""
PARTS = {
    "cerebellum": ("cerebellar_grey", "cerebellar_white"),
    "brain_stem": ("brain_stem",),
    "deep_grey": ("deep_grey",),
}
SOLID = CLASSES[:6]
"""Grey and white matter; ventricles and CSF are left out of the mask by some on purpose."""
TISSUES = {"csf": ("ventricles", "csf"), "gm": ("cortical_grey",), "wm": ("white",)}
"""The network's classes in which each tissue is compared. Deep grey matter, stem and cerebellum
are left out: their intensities lie between grey and white."""


@dataclass(frozen=True, eq=False)
class MapAgreement:
    """How far a result agrees with the network's map.

    Attributes
    ----------
    numbers : dict of str to float
        As `compare_mask` and `compare_tissues` name them; empty where nothing could be compared.
    missing_at, foreign_at : str
        Where most brain is missing in the mask, and where most of the mask is no brain, in words.
    unknown : str
        Why there are no numbers.
    """

    numbers: dict[str, float]
    missing_at: str = ""
    foreign_at: str = ""
    unknown: str = ""

    def with_tissues(self, numbers: dict[str, float]) -> MapAgreement:
        """Add what `compare_tissues` found."""
        return replace(self, numbers={**self.numbers, **numbers})


def compare_mask(found: HeadMap, mask: BoolArray, zooms: Zooms) -> MapAgreement:
    """Compare a brain mask with the network's map of the head.

    Parameters
    ----------
    found : HeadMap
    mask : ndarray of bool, shape (I, J, K)
        On the grid of the scan that was looked at.
    zooms : tuple of float
        Voxel sizes of the scan in mm.

    Returns
    -------
    MapAgreement
        ``map_inward_mm``: how far the mask's border lies inside the map's, on average; negative
        outside. ``map_distance_mm``: the same without sign. ``map_missing``: the largest share of
        the space around one place that is grey or white matter outside the mask.
        ``map_missing_mm``: how far from the mask the deepest `DEEP_ML` of it lie. ``map_foreign``:
        the largest share that is mask and surely no brain. ``map_foreign_mm``: how far from the
        brain the furthest `DEEP_ML` of it lie. ``map_eyes_ml``: volume of eyes in the
        mask. ``map_missing_cerebellum`` and so on: share of each part left out.
    """
    if not mask.any():
        return MapAgreement({}, unknown="the mask is empty")
    share = _averaged(found, mask.astype(np.float32), bounding_box(mask), zooms)
    total = float(np.count_nonzero(mask)) * math.prod(zooms) / 1000
    held = float(share.sum(dtype=np.float64)) * found.view.voxel**3 / 1000
    return compare_share(found, share, max(0.0, total - held))


def compare_tissues(
    found: HeadMap, mask: BoolArray, fractions: Array, zooms: Zooms
) -> dict[str, float]:
    """Compare tissues with the network's map, where it is sure.

    Parameters
    ----------
    found : HeadMap
    mask : ndarray of bool, shape (I, J, K)
    fractions : ndarray, shape (n_mask, 3)
        Share of CSF, GM and WM in each voxel.
    zooms : tuple of float
        In mm.

    Returns
    -------
    dict
        ``map_csf``, ``map_gm``, ``map_wm``: the share of the tissue in what the network calls it,
        0.0 to 1.0. A tissue of which the network sees nothing in the mask is left out.
    """
    box = bounding_box(mask)
    share = _averaged(found, mask.astype(np.float32), box, zooms)
    numbers = {}
    for k, (tissue, classes) in enumerate(TISSUES.items()):
        sure = found.of(*classes)
        sure = sure * ((sure > LIKELY) & (share > SURELY))
        total = float((sure * share).sum(dtype=np.float64))
        if total > 0:
            there = scatter(fractions[:, k].astype(np.float32, copy=False), mask)
            mean = _averaged(found, there, box, zooms)
            numbers[f"map_{tissue}"] = float((sure * mean).sum(dtype=np.float64)) / total
    return numbers


def compare_share(found: HeadMap, share: Float32, beyond: float) -> MapAgreement:
    """Compare a mask that is given on the map's grid.

    Parameters
    ----------
    found : HeadMap
    share : ndarray of float32, shape (D, H, W)
        Share of each voxel of the map in the mask.
    beyond : float
        Volume in mL of the mask that lies beyond the map's grid.
    """
    brain = largest_part(found.brain > 0.5)[0]
    if not brain.any():
        return MapAgreement({}, unknown="the network sees no brain in this scan")
    held = share >= 0.5
    if not held.any():
        return MapAgreement({}, unknown="the mask is smaller than a voxel of the network's map")
    p, voxel = found.probabilities, found.view.voxel
    tissue = p[: len(SOLID)].sum(axis=0)
    tissue = tissue * (brain & (tissue > 0.5))
    outside = (found.brain < 1 - SURELY).astype(np.float32)
    voxel_ml = voxel**3 / 1000
    lacking, excess = (1 - share)[brain].sum(dtype=np.float64), share[~brain].sum(dtype=np.float64)
    # mL over cm2, in mm
    lacking, excess = lacking * voxel_ml, excess * voxel_ml + beyond
    per_mm = _area_mm2(brain, voxel) / 1000
    left_out = tissue * (1 - share)
    missing, missing_at = _densest(left_out, voxel)
    taken_in = outside * share
    foreign, foreign_at = _densest(taken_in, voxel)
    numbers = {
        "map_inward_mm": float(lacking - excess) / per_mm,
        "map_distance_mm": float(lacking + excess) / per_mm,
        "map_missing": missing,
        "map_missing_mm": _deepest(left_out * ~held, held, voxel),
        "map_foreign": foreign,
        "map_foreign_mm": _deepest(taken_in * held, brain, voxel),
        "map_eyes_ml": float((share * found.of("eyes")).sum(dtype=np.float64)) * voxel_ml,
    }
    for part, classes in PARTS.items():
        inside = found.of(*classes)
        inside = inside * (inside > 0.5)
        total = float(inside.sum(dtype=np.float64))
        numbers[f"map_missing_{part}"] = (
            float((inside * (1 - share)).sum(dtype=np.float64)) / total if total else 0.0
        )
    return MapAgreement(numbers, _where(missing_at, brain, p), _where(foreign_at, brain, p))


def _averaged(
    found: HeadMap, data: Float32, box: tuple[slice, slice, slice], zooms: Zooms
) -> Float32:
    """Average a map of the scan, 0 outside a box, over the voxels of the network's map."""
    operators = []
    for axis in range(3):
        operator, _ = views.averaging(data.shape[axis], zooms[axis], found.view, axis)
        operators.append(operator[:, box[axis]])
    return views.apply((operators[0], operators[1], operators[2]), data[box])


def _area_mm2(brain: BoolArray, voxel: float) -> float:
    """Surface of a body from its voxels' faces: a plane of any slant has 3/2 of its area in them.

    The mean over all directions of |x| + |y| + |z| of a unit vector is 3/2.
    """
    faces = sum(int(np.count_nonzero(np.diff(brain, axis=a))) for a in range(3))
    return faces * voxel**2 / 1.5


def _densest(part: Float32, voxel: float) -> tuple[float, tuple[int, int, int]]:
    """Return the largest share of a part in the space around one place, and that place."""
    near = ndimage.gaussian_filter(
        _halved(part), NEAR_MM / (2 * voxel), truncate=2.5, mode="constant"
    )
    i, j, k = np.unravel_index(int(near.argmax()), near.shape)
    return float(near[i, j, k]), (2 * int(i), 2 * int(j), 2 * int(k))


def _deepest(part: Float32, inside: BoolArray, voxel: float) -> float:
    """Return how far from a body the furthest `DEEP_ML` of a part begin, in mm; 0 for less."""
    at = part > 0
    away = ndimage.distance_transform_edt(~inside, sampling=voxel)[at]
    order = np.argsort(-away, kind="stable")
    volume = np.cumsum(part[at][order], dtype=np.float64) * voxel**3 / 1000
    reached = int(np.searchsorted(volume, DEEP_ML))
    return float(away[order[reached]]) if reached < len(order) else 0.0


def _halved(x: Float32) -> Float32:
    """Average blocks of two voxels along each axis; a map's sides are even."""
    i, j, k = (n // 2 for n in x.shape)
    out: Float32 = x[: 2 * i, : 2 * j, : 2 * k].reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5))
    return out


def _where(at: tuple[int, int, int], brain: BoolArray, p: Float32) -> str:
    """Name a place of the head by the network's class there, or by its place in the brain's box."""
    near = tuple(slice(max(0, a - 2), a + 4) for a in at)
    name = CLASSES[int(p[(slice(None), *near)].sum(axis=(1, 2, 3)).argmax())]
    if name.startswith("cerebellar"):
        return "cerebellum"
    if name in ("brain_stem", "eyes"):
        return name.replace("_", " ")
    box = bounding_box(brain)
    x, y, z = ((a - s.start) / (s.stop - s.start) for a, s in zip(at, box, strict=True))
    side = "left" if x < 0.5 else "right"
    if z > 0.75:
        return f"vertex, {side}"
    if y < 0.25:
        return f"occipital pole, {side}"
    if z < 0.45 and 0.5 < y < 0.85 and abs(x - 0.5) > 0.12:
        return f"temporal pole, {side}"
    if z < 0.2:
        return "below the brain"
    if y > 0.8:
        return f"frontal pole, {side}"
    return f"{side} side"
