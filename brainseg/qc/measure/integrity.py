"""Is the scan whole, and the head in it the right way round? Arrays in, numbers out.

Tissue intensities do not tell: a scan with swapped slices or axes still holds grey and white
matter. None of these numbers changes when intensities are scaled or an offset is added. Their
limits in `brainseg.qc.measure.verdict` stand between clean heads and those that
`pipelines/attack_images.py` spoils.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import ndimage

from brainseg.atlas.head_atlas import BRAIN, Atlas, load_atlas
from brainseg.core.masking import bounding_box
from brainseg.core.volume import Array, BoolArray, FloatArray

LARGE = 0.3
"""Planes with less of the mask than this share of the largest are not compared: their edges differ
too much."""
MOST = 1000.0
"""Largest multiple of the usual step that is told apart."""
NEIGHBOURS = 9
"""Planes in the running median that a step between two planes is compared with."""
ABREAST = 21
"""Points along each axis of the grid that heads are compared on: about 8 mm apart."""
EXTENT = 2.2
"""Standard deviations of the mask that this grid covers to each side."""
COARSE_MM = 3.0
RIM_MM = 3.0
"""Depth of the mask's rim: cortex is 2 to 4 mm thick, and CSF lies on it."""
RIM_GRID_MM = 2.0
NORMAL_MM = 6.0
"""Standard deviation of the blur that gives the mask's normals: sulci do not turn them."""
FACING = 0.7
"""Cosine to an axis from which on a piece of the surface looks that way: within 45 degrees."""
TISSUES = (
    ("csf",),
    ("cortical_grey", "deep_grey", "cerebellar_grey"),
    ("white", "cerebellar_white", "brain_stem"),
)


def measure_planes(data: Array, mask: BoolArray) -> dict[str, float | None]:
    """Look for planes that do not go with their neighbours.

    Parameters
    ----------
    data : ndarray, shape (I, J, K)
        The scan as it came.
    mask : ndarray of bool, shape (I, J, K)

    Returns
    -------
    dict
        ``plane_jump``, the largest step between two planes as a multiple of the steps nearby;
        ``plane_comb``, the step to the next plane over that to the next but one, above 1 where
        every other plane is shifted; ``plane_constant``, the number of planes inside the mask that
        hold one value; ``mask_flat``, the largest share of a cross-section at which the mask ends
        in one plane.
    """
    box = bounding_box(mask)
    inside, cropped = mask[box], data[box]
    jumps, combs, flats = [], [], []
    constant = 0
    for axis in range(3):
        planes = np.moveaxis(cropped, axis, 0)
        masks = np.moveaxis(inside, axis, 0)
        area = masks.sum(axis=(1, 2))
        constant += sum(bool(p.min() == p.max()) for p in planes[1:-1])
        ends = np.pad(masks, ((1, 1), (0, 0), (0, 0)))
        faces = [int(np.count_nonzero(a != b)) for a, b in itertools.pairwise(ends)]
        flats.append(max(faces) / int(area.max()))
        steps = _steps(planes, masks, area > LARGE * area.max())
        if len(steps) > NEIGHBOURS:
            usual = ndimage.median_filter(steps[:, 0], NEIGHBOURS, mode="nearest")
            # Planes of one value differ by nothing: any step beside them is as far as can be told.
            least = max(float(steps[:, 0].max()) / MOST, 1e-30)
            jumps.append(float((steps[:, 0] / np.maximum(usual, least)).max()))
            far = float(np.median(steps[:, 1]))
            combs.append(float(np.median(steps[:, 0])) / far if far > 0 else 1.0)
    return {
        "plane_jump": max(jumps, default=None),
        "plane_comb": max(combs, default=None),
        "plane_constant": float(constant),
        "mask_flat": max(flats),
    }


def _steps(planes: Array, masks: BoolArray, large: BoolArray) -> FloatArray:
    """Mean difference of each plane to the next and the next but one, where both are brain."""
    rows = []
    for k in range(len(planes) - 2):
        if large[k : k + 3].all():
            row = [
                np.abs(planes[k + n] - planes[k])[masks[k] & masks[k + n]].mean() for n in (1, 2)
            ]
            rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def measure_turn(
    fractions: Array, mask: BoolArray, zooms: tuple[float, float, float], atlas: Atlas | None = None
) -> float:
    """Return by how much the head resembles the atlas better turned or mirrored than as it lies.

    Mask and tissues are laid over those of the atlas by centre and extent, in each of the ways in
    which axes can be exchanged and mirrored (left and right, which are alike, left out). The
    number is the best correlation of those less that of the head as it lies: below 0 for a head
    whose axes are right.

    Parameters
    ----------
    fractions : ndarray, shape (n_mask, 3)
        Of CSF, GM and WM.
    mask : ndarray of bool, shape (I, J, K)
    zooms : tuple of float
        In mm.
    atlas : Atlas, optional
    """
    atlas = atlas or load_atlas()
    steps = tuple(slice(None, None, max(1, round(COARSE_MM / z))) for z in zooms)
    small = mask[steps]
    maps = []
    for k in range(3):
        whole = np.zeros(mask.shape, np.float32)
        whole[mask] = fractions[:, k]
        maps.append(whole[steps])
    ours = _abreast(maps, small)
    theirs = _abreast([atlas.of(*names) for names in TISSUES], atlas.of(*BRAIN) > 0.5)
    right = wrong = -1.0
    for axes in itertools.permutations((1, 2, 3)):
        for flips in itertools.product((1, -1), repeat=3):
            i, j, k = flips
            turned = ours.transpose(0, *axes)[:, ::i, ::j, ::k]
            likeness = float(np.corrcoef(turned.ravel(), theirs.ravel())[0, 1])
            if axes == (1, 2, 3) and (j, k) == (1, 1):
                right = max(right, likeness)
            else:
                wrong = max(wrong, likeness)
    return wrong - right


def _abreast(maps: list[Array], mask: BoolArray) -> FloatArray:
    """Read maps on a grid that goes with the centre and the extent of a mask."""
    where = np.argwhere(mask)
    centre, spread = where.mean(axis=0), np.maximum(where.std(axis=0), 1e-3)
    line = np.linspace(-EXTENT, EXTENT, ABREAST)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"))
    at = points * spread[:, None, None, None] + centre[:, None, None, None]
    smooth = [ndimage.gaussian_filter(m.astype(np.float32), spread / 12) for m in maps]
    return np.stack([ndimage.map_coordinates(m, at, order=1) for m in smooth])


def measure_proportions(mask: BoolArray, zooms: tuple[float, float, float]) -> dict[str, float]:
    """Measure a brain's width over its length, and its height over the mean of both.

    Each is a standard deviation of the mask's voxels in mm. Voxel sizes that are wrong along one
    axis change them; a head that nods by 20 degrees changes the height by less than 10 %.

    Parameters
    ----------
    mask : ndarray of bool, shape (I, J, K)
        Not empty.
    zooms : tuple of float
        In mm.

    Returns
    -------
    dict
        ``brain_width``, left-right over front-back, and ``brain_height``, up-down over the
        geometric mean of the two.
    """
    spreads = []
    for axis in range(3):
        count = mask.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        at = np.arange(count.size) * zooms[axis]
        mean = float((count * at).sum() / count.sum())
        spreads.append(float(np.sqrt((count * (at - mean) ** 2).sum() / count.sum())))
    x, y, z = (max(s, 1e-3) for s in spreads)  # a mask of one plane has no extent
    return {"brain_width": x / y, "brain_height": z / float(np.sqrt(x * y))}


def measure_rim(
    fractions: Array, mask: BoolArray, zooms: tuple[float, float, float]
) -> dict[str, float | None]:
    """Look for white matter at the surface of the mask, where cortex or CSF should be.

    A mask that lies beside its brain cuts into it on one side. This holds for scans that were
    stripped before, too, of which nothing outside the mask is left to be compared with.

    Parameters
    ----------
    fractions : ndarray, shape (n_mask, 3)
        Of CSF, GM and WM.
    mask : ndarray of bool, shape (I, J, K)
    zooms : tuple of float
        In mm.

    Returns
    -------
    dict
        ``rim_white``, the mean share of white matter in the outermost `RIM_MM` of the mask on the
        left, on the right, in front or on top, whichever is largest; ``rim_white_back``, that at
        the back, where white matter lies nearer to the surface. The underside, where the brain
        stem ends, is left out. None where no voxel of the rim looks that way.
    """
    box = bounding_box(mask)
    steps = tuple(slice(None, None, max(1, round(RIM_GRID_MM / z))) for z in zooms)
    size = np.array([s.step * z for s, z in zip(steps, zooms, strict=True)])
    whole = np.zeros(mask.shape, np.float32)
    whole[mask] = fractions[:, 2]
    small, white = np.pad(mask[box][steps], 2), np.pad(whole[box][steps], 2)
    rim = small & (ndimage.distance_transform_edt(small, sampling=size) < RIM_MM)
    smooth = ndimage.gaussian_filter(small.astype(np.float32), NORMAL_MM / size)
    outwards = -np.stack(np.gradient(smooth, *size))
    outwards /= np.maximum(np.linalg.norm(outwards, axis=0), 1e-9)

    def share(axis: int, sign: int) -> float | None:
        there = rim & (sign * outwards[axis] > FACING)
        return float(white[there].mean()) if there.any() else None

    sides = [share(*side) for side in ((0, -1), (0, 1), (1, 1), (2, 1))]
    known = [s for s in sides if s is not None]
    return {"rim_white": max(known, default=None), "rim_white_back": share(1, -1)}


def measure_sides(fractions: Array, mask: BoolArray) -> float:
    """Return the largest difference of a tissue between left and right over its sum."""
    x = np.nonzero(mask)[0]
    middle = np.median(x)
    left, right = (fractions[s].sum(axis=0, dtype=np.float64) for s in (x < middle, x > middle))
    # CSF differs between the sides of a head that lies aslant; grey and white matter do not.
    return float((np.abs(left - right) / np.maximum(left + right, 1e-9))[1:].max())
