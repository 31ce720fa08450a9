"""Synthesise heads of any contrast from label maps, to train the network that knows the head.

Needs PyTorch (training only). A label map is cut into the codes of `CODES` and its dural target is
mended (`prepare`); `variants` of it have wider or narrower ventricles and sulci. Each training
sample draws a geometry (voxel size, rotation, shear, flip, smooth deformation), reads the codes at
four points of every voxel of the network's grid (partial volume), draws an intensity for every
code and spoils the image as scanners, archives and diseases do. The idea is that of Billot et al.,
SynthSeg (doi:10.1016/j.media.2023.102789) and Hoopes et al., SynthStrip
(doi:10.1016/j.neuroimage.2022.119474).

The target is one of `brainseg.anatomy.classes.CLASSES` at each of the four points. The first
`N_BRAIN` are the brain: tissue, ventricles and the CSF inside the dura, down to the lowest voxel of
the brain stem, about the foramen magnum.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage as ndi

from brainseg.anatomy.classes import CLASSES, N_BRAIN

HELD_OUT = (5, 9, 14, 18)
"""Label maps that no training sample is made from: they validate."""

NOTHING = CLASSES.index("nothing")

# Labels of the maps (FreeSurfer's inside the brain; from 500 on tissues outside: artery 502, eye
# fluid 506, other tissue 507, eye muscle 508, mucosa 509, skin 511, spinal cord 512, vein 514,
# cortical bone 515, cancellous bone 516, optic nerve 530) by code. Codes from 30 on, 16 and 20-22
# have no label of their own: `prepare` derives them.
CODES: dict[int, tuple[int, ...]] = {
    1: (2, 41),
    2: (3, 42),
    3: (4, 5, 43, 44),
    4: (7, 46),
    5: (8, 47),
    6: (10, 49),
    7: (11, 50, 26, 58),
    8: (12, 51),
    9: (13, 52),
    10: (14, 15, 72),
    11: (16,),
    12: (17, 18, 53, 54),
    13: (28, 60),
    14: (24,),
    15: (25, 57, 30, 62, 85, 136, 137, 163, 164),
    17: (502,),
    18: (506,),
    19: (507,),
    23: (508, 530),
    24: (509,),
    25: (511,),
    26: (512,),
    27: (514,),
    28: (515,),
    29: (516,),
}
CHOROID, SOFT, SPINAL_CSF, INNER_AIR = 16, (19, 20, 21, 22), 30, 31
MENINX = 32
"""What the maps call CSF and is not: dura, venous sinuses, surroundings of sella and clivus."""
UNKNOWN, INNER_VESSEL = 33, 34
"""Inside the dura: without a label, and vessels."""
N_CODES = 64
GREY, WHITE, FLUID = (2, 5, 6, 7, 8, 12), (1, 4, 9, 11, 13, 26), (3, 10, 14, 30)

MEMBERS = {
    "cortical_grey": (2,),
    "white": (1, 15),
    "deep_grey": (6, 7, 8, 9, 12, 13),
    "brain_stem": (11,),
    "cerebellar_grey": (5,),
    "cerebellar_white": (4,),
    "ventricles": (3, 10, CHOROID),
    "csf": (14, UNKNOWN, INNER_VESSEL),
    "bone": (28, 29),
    "soft_tissue": (17, *SOFT, 23, 24, 25, 26, 27, SPINAL_CSF, MENINX),
    "eyes": (18,),
    "air": (INNER_AIR,),
    "nothing": (0,),
}
CLASS_OF = np.full(N_CODES, NOTHING, np.uint8)
for _name, _codes in MEMBERS.items():
    CLASS_OF[list(_codes)] = CLASSES.index(_name)

CLOSING = 8.0
"""mm by which tissue is closed to find what lies between gyri."""
SHELL = (1.0, 2.5)
"""mm of CSF that the target has beyond that: at the base, where the maps' CSF holds sinuses, sella
and clivus, and over the convexity."""
SINUS = 0.5
"""The same beside the midline at the vertex and the back, where the sagittal sinus runs."""


@dataclass(frozen=True, eq=False)
class Head:
    """A prepared label map and its variants.

    Attributes
    ----------
    variants : tuple of ndarray of uint8, shape (I, J, K)
        Codes at 1 mm, RAS+; the first is the map as it is.
    centre : ndarray, shape (3,)
        Middle of the brain, in voxels.
    cut_below : bool
        The head touches the lower end of the map: nothing is known below.
    """

    variants: tuple[np.ndarray, ...]
    centre: np.ndarray
    cut_below: bool


def prepare(path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Read a label map, cut it into codes and mend its dural target.

    Returns
    -------
    codes : ndarray of uint8, shape (I, J, K)
    centre : ndarray, shape (3,)
    cut_below : bool
    """
    image = nib.as_closest_canonical(nib.load(path))
    labels = np.asarray(image.dataobj).astype(np.int16)
    table = np.zeros(1000, np.uint8)
    for index, members in CODES.items():
        table[list(members)] = index
    codes = table[labels]
    hit = np.argwhere(codes > 0)
    lo, hi = hit.min(axis=0), hit.max(axis=0) + 1
    codes = np.pad(codes[lo[0] : hi[0], lo[1] : hi[1], lo[2] : hi[2]], 1)
    bottom = bool((codes[:, :, 1] > 0).sum() > 2000)

    dura, tissue = dural_target(codes)
    ball = ndi.generate_binary_structure(3, 1)
    head = ndi.binary_fill_holes(codes > 0)
    floor = int(np.flatnonzero((codes == 11).any(axis=(0, 1)))[0])
    stray = (codes >= 1) & (codes <= 16) & ~dura
    below = np.zeros_like(dura)
    below[:, :, :floor] = True
    ventricle = np.isin(codes, (3, 10))
    codes[stray & below] = SPINAL_CSF
    codes[stray & ~below] = MENINX
    empty = (codes == 0) & dura
    codes[empty] = UNKNOWN
    codes[empty & ndi.binary_dilation(ventricle, ball, iterations=3)] = CHOROID
    codes[dura & (codes > CHOROID) & (codes != UNKNOWN)] = INNER_VESSEL
    codes[(codes == 0) & ndi.binary_closing(head, ball, iterations=6)] = INNER_AIR
    _split_soft_tissue(codes)
    reach = np.argwhere(tissue)
    centre = (reach.min(axis=0) + reach.max(axis=0)) / 2
    return np.ascontiguousarray(codes), centre, bottom


def dural_target(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what lies inside the dura, and the tissue in it.

    The maps' CSF fills everything between tissue and bone. What is further from the tissue, closed
    by `CLOSING`, than a shell that depends on the place, is left out.

    Returns
    -------
    dura, tissue : ndarray of bool, shape (I, J, K)
    """
    ball = ndi.generate_binary_structure(3, 1)
    inside = (codes >= 1) & (codes <= 16)
    tissue = _largest(inside & (codes != 14))
    box = ndi.find_objects(tissue.astype(np.uint8))[0]
    room = tuple(
        slice(max(0, s.start - 14), min(n, s.stop + 14))
        for s, n in zip(box, codes.shape, strict=True)
    )
    part = tissue[room]
    hull = ndi.distance_transform_edt(~part) <= CLOSING
    hull = ndi.distance_transform_edt(hull) > CLOSING
    hull |= part
    away = ndi.distance_transform_edt(~hull)
    middle = [(s.start + s.stop - 1) / 2 for s in box]
    x, y, z = (
        np.arange(r.start, r.stop, dtype=float) - m for r, m in zip(room, middle, strict=True)
    )
    up = np.clip((z + 15) / 20, 0, 1)  # 0 at the base, 1 from a little above the middle on
    shell = (SHELL[0] + (SHELL[1] - SHELL[0]) * up)[None, None, :]
    along = (np.abs(x) < 9)[:, None, None] & ((z > 30)[None, None, :] | (y < -45)[None, :, None])
    near = away <= np.where(along & (z > -25)[None, None, :], np.minimum(shell, SINUS), shell)

    floor = int(np.flatnonzero((codes == 11).any(axis=(0, 1)))[0])
    dura = np.zeros_like(tissue)
    dura[room] = near & inside[room]
    dura[:, :, :floor] = False
    dura |= tissue
    dura = _largest(ndi.binary_opening(dura, ball, iterations=2)) | tissue
    grown = np.zeros_like(tissue)
    grown[room] = near
    grown[:, :, :floor] = False
    dura = ndi.binary_fill_holes(ndi.binary_closing(dura, ball, iterations=2)) & (grown | tissue)
    return dura, tissue


def _largest(mask: np.ndarray) -> np.ndarray:
    parts, n = ndi.label(mask)
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])) if n else mask


def _split_soft_tissue(codes: np.ndarray) -> None:
    """One label stands for scalp fat, muscle, salivary glands...: split it into four, in place."""
    soft = codes == SOFT[0]
    rng = np.random.default_rng(0)
    field = ndi.zoom(rng.normal(size=[s // 12 + 2 for s in codes.shape]), 12, order=1)
    field = field[tuple(slice(s) for s in codes.shape)]
    fine = ndi.zoom(rng.normal(size=[s // 5 + 2 for s in codes.shape]), 5, order=1)
    field = field + 0.7 * fine[tuple(slice(s) for s in codes.shape)]
    low, high = np.quantile(field[soft], (0.45, 0.75))
    depth = ndi.distance_transform_edt(ndi.binary_fill_holes(codes > 0))
    codes[soft & (field > low)] = SOFT[1]
    codes[soft & (field > high)] = SOFT[2]
    codes[soft & (depth < 4.5 + 1.5 * np.clip(field, -2, 2))] = SOFT[3]


def variants(codes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the head as it is, younger, and older.

    In order: as it is; sulci filled; ventricles widened by 3 mm; narrowed by 2 mm, sulci filled;
    ventricles and sulci widened; ventricles widened by 7 mm (hydrocephalus).
    """
    return (
        codes,
        with_thick_cortex(codes),
        with_ventricles(codes, 3.0),
        with_thick_cortex(with_ventricles(codes, -2.0)),
        with_wide_sulci(with_ventricles(codes, 4.0)),
        with_ventricles(codes, 7.0),
    )


def with_thick_cortex(codes: np.ndarray) -> np.ndarray:
    """Let the cortex grow by 2 mm into the CSF: the maps' sulci are wide, young brains' are not."""
    ball = ndi.generate_binary_structure(3, 1)
    out = codes.copy()
    for cortex in (2, 5):
        near = ndi.binary_dilation(codes == cortex, ball, iterations=2) & (codes == 14)
        out[near] = cortex
    return out


def with_wide_sulci(codes: np.ndarray) -> np.ndarray:
    """Move the cerebral cortex inwards by 1 mm, between CSF and white matter."""
    ball = ndi.generate_binary_structure(3, 1)
    out = codes.copy()
    cortex = codes == 2
    out[(codes == 1) & ndi.binary_dilation(cortex, ball)] = 2
    out[cortex & ndi.binary_dilation(codes == 14, ball)] = 14
    return out


def with_ventricles(codes: np.ndarray, widened: float, reach: float = 12.0) -> np.ndarray:
    """Move the walls of the lateral ventricles outwards by `widened` mm, smoothly.

    The displacement falls as ``exp(-distance / reach)``, so that the brain around is compressed
    and the skull stays; ``widened < reach`` keeps it free of folds.
    """
    box = ndi.find_objects(np.isin(codes, range(1, 17)).astype(np.uint8))[0]
    part = codes[box]
    ventricle = part == 3
    signed = ndi.distance_transform_edt(~ventricle) - ndi.distance_transform_edt(ventricle)
    signed = ndi.gaussian_filter(signed.astype(np.float32), 1.0)
    slope = np.stack(np.gradient(signed))
    slope /= np.maximum(np.sqrt((slope**2).sum(axis=0)), 0.2)
    slope *= -widened * np.exp(-np.abs(signed) / reach)
    index = []
    for axis, (step, n) in enumerate(zip(slope, part.shape, strict=True)):
        place = np.arange(n, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        index.append(np.clip(np.rint(place + step), 0, n - 1).astype(np.int32))
    out = codes.copy()
    out[box] = part[index[0], index[1], index[2]]
    return out


def load_heads(folder: Path, cache: Path) -> dict[int, Head]:
    """Prepare every label map and its variants once and keep the result in `cache`."""
    heads = {}
    for path in sorted(folder.glob("training_seg_*.nii.gz")):
        number = int(path.name[13:15])
        kept = cache / f"codes_{number:02d}.npz"
        if not kept.exists():
            codes, centre, cut_below = prepare(path)
            part = kept.with_name(f"part_{number:02d}.npz")
            np.savez(part, centre=centre, cut_below=cut_below, variants=np.stack(variants(codes)))
            part.replace(kept)
        with np.load(kept) as z:
            heads[number] = Head(tuple(z["variants"]), z["centre"], bool(z["cut_below"]))
    return heads


Shape = tuple[int, int, int]


def _smooth_field(
    rng: np.random.Generator, channels: int, points: int, shape: Shape
) -> torch.Tensor:
    """Gaussian noise on `points`^3 control points, interpolated smoothly to `shape`."""
    noise = torch.from_numpy(rng.normal(size=(1, channels, points, points, points)).astype("f4"))
    noise = F.interpolate(noise, size=max(3 * points, 8), mode="trilinear", align_corners=True)
    noise = F.avg_pool3d(F.pad(noise, [1] * 6, mode="replicate"), 3, 1)
    return F.interpolate(noise, size=shape, mode="trilinear", align_corners=True)[0]


def _blur(image: torch.Tensor, sigma: tuple[float, float, float]) -> torch.Tensor:
    """Gaussian blur of (D, H, W), sigma in voxels along each axis."""
    for axis, s in enumerate(sigma):
        if s < 0.2:
            continue
        r = int(np.ceil(2.5 * s))
        k = torch.exp(-0.5 * (torch.arange(-r, r + 1) / s) ** 2)
        k = k / k.sum()
        n = image.shape[axis]
        index = torch.arange(-r, n + r).clamp(0, n - 1)
        padded = image.index_select(axis, index)
        image = sum(k[t] * padded.narrow(axis, t, n) for t in range(2 * r + 1))
    return image


def _rotation(rng: np.random.Generator, degrees: float) -> np.ndarray:
    matrix = np.eye(3)
    for axis in rng.permutation(3):
        angle = np.deg2rad(rng.uniform(-degrees, degrees))
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        matrix = matrix @ turn
    return matrix


# Relative brightness of (grey, white, fluid, fat, muscle, cortical bone, marrow, eye, vessel,
# mucosa, skin) in the usual sequences; each draw jitters them strongly.
CONTRASTS = {
    "T1w": (0.55, 0.82, 0.18, 1.00, 0.45, 0.10, 0.70, 0.20, 0.50, 0.50, 0.70),
    "T2w": (0.60, 0.45, 1.00, 0.65, 0.25, 0.06, 0.45, 0.95, 0.10, 0.80, 0.40),
    "FLAIR": (0.65, 0.52, 0.15, 0.60, 0.35, 0.08, 0.40, 0.20, 0.20, 0.75, 0.45),
    "PDw": (0.85, 0.70, 0.90, 0.85, 0.60, 0.10, 0.55, 0.85, 0.35, 0.80, 0.60),
}

# Where the deep structures of a T1w lie between cortical grey (0) and white matter (1).
BETWEEN_T1 = {
    6: (0.35, 0.85),  # thalamus
    7: (-0.05, 0.35),  # caudate, accumbens
    8: (0.10, 0.55),  # putamen
    9: (0.50, 1.05),  # pallidum
    11: (0.55, 1.05),  # brain stem
    12: (-0.15, 0.25),  # hippocampus, amygdala
    13: (0.50, 1.00),  # ventral diencephalon
    4: (0.75, 1.10),  # cerebellar white
    5: (-0.15, 0.25),  # cerebellar grey
}


def _intensities(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of every code: independent, or by families of tissues that go together."""
    mean = rng.uniform(0, 1, N_CODES)
    spread = rng.uniform(0.0, 0.08, N_CODES) * rng.choice([0.3, 1.0, 1.5])
    kind = rng.random()
    if kind > 0.10:
        t1w = kind > 0.52
        if t1w:
            row = np.array(CONTRASTS["T1w"]) + rng.normal(0, 0.08, 11)
            row[2] = rng.uniform(0.02, 0.3)
            row[1] = row[0] + rng.uniform(0.12, 0.42)
        elif kind > 0.27:
            row = np.array(CONTRASTS[str(rng.choice(["T2w", "FLAIR", "PDw"]))])
            row = row + rng.normal(0, 0.1, row.size) + rng.normal(0, 0.05)
        else:
            row = rng.uniform(0, 1, 11)
            if rng.random() < 0.7:
                row[5] *= 0.3
        if rng.random() < 0.15:  # a dark skull beside dark CSF
            row[5] = max(0.0, row[2] + rng.normal(0, 0.03)) if t1w else row[5]
        grey, white, fluid, fat, muscle, bone, marrow, eye, vessel, mucosa, skin = row
        for family, value, jitter in (
            (GREY, grey, 0.04),
            (WHITE, white, 0.04),
            (FLUID, fluid, 0.03),
        ):
            mean[list(family)] = value + rng.normal(0, jitter, len(family))
        if t1w:
            for code, (low, high) in BETWEEN_T1.items():
                mean[code] = grey + rng.uniform(low, high) * (white - grey) + rng.normal(0, 0.015)
        else:
            for code in (6, 8, 12):  # deep grey matter lies between grey and white
                mean[code] += rng.uniform(0, 0.6) * (white - grey)
            mean[9] = grey + rng.uniform(0, 1) * (white - grey)
            if rng.random() < 0.3:  # iron
                mean[9] = min(grey, white) - rng.uniform(0, 0.15)
                mean[8] -= rng.uniform(0, 0.08)
        mean[15] = rng.uniform(0, 1)
        mean[list(SOFT)] = np.array([muscle, muscle, fat, fat]) + rng.normal(0, 0.1, 4)
        mean[28], mean[29] = bone, bone + rng.uniform(0.2, 1.0) * (marrow - bone)
        mean[18], mean[17], mean[24], mean[25] = eye, vessel, mucosa, skin
        mean[27] = rng.choice([vessel, fluid, grey, bone]) + rng.normal(0, 0.08)
        mean[23] = white + rng.normal(0, 0.1)
        mean[CHOROID] = rng.choice([grey, fluid, fluid]) + rng.normal(0, 0.08)
        mean[UNKNOWN] = rng.choice([grey, fluid, fluid]) + rng.normal(0, 0.08)
        mean[INNER_VESSEL] = rng.choice([vessel, fluid]) + rng.normal(0, 0.05)
        mean[MENINX] = rng.choice([fluid, fluid, vessel, grey, bone, muscle, rng.uniform()])
        mean[MENINX] += rng.normal(0, 0.05)
        if t1w and rng.random() < 0.12:  # after contrast agent
            bright = rng.uniform(0.9, 1.4)
            for code in (17, 27, 24, INNER_VESSEL, MENINX):
                mean[code] = bright * rng.uniform(0.7, 1.1)
            if rng.random() < 0.5:
                mean[CHOROID] = bright
    if rng.random() < 0.92:
        mean[0] = mean[INNER_AIR] = 0.0
        spread[0] = rng.choice([0.0, 0.01, 0.03])
    else:
        mean[0] = rng.uniform(0, 0.5)
        mean[INNER_AIR] = mean[0] if rng.random() < 0.7 else mean[INNER_AIR]
    return np.clip(mean, 0, 1.4).astype("f4"), spread.astype("f4")


# The two looks of the network: voxels along the sides, and their sizes in mm. A fine look need
# not hold the whole brain; the wide one does, at most of its sizes.
COARSE_SHAPE, COARSE = (64, 64, 64), (3.4, 4.6)
FINE_SHAPE, FINE = (80, 96, 80), (1.45, 2.3)
WIDE_SHAPE, WIDE = (96, 112, 96), (1.45, 1.95)
SHARE_COARSE, SHARE_WIDE = 0.12, 0.25

# Four of the eight half-voxel corners, a tetrahedron: partial volume at half the price.
CORNERS = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]) * 0.25


@dataclass(frozen=True, eq=False)
class Sample:
    """One training sample.

    Attributes
    ----------
    image : Tensor, shape (D, H, W), about 0 to 1
    labels : Tensor of uint8, shape (4, D, H, W)
        Class at four points of each voxel.
    weight : Tensor, shape (D, H, W)
        0 outside the field of view.
    voxel : float
        mm.
    """

    image: torch.Tensor
    labels: torch.Tensor
    weight: torch.Tensor
    voxel: float


def synthesise(
    head: Head, rng: np.random.Generator, look: tuple[Shape, float] | None = None
) -> Sample:
    """Make one training sample, in a coarse, a fine or a wide look.

    Parameters
    ----------
    head : Head
    rng : Generator
    look : tuple of shape and voxel size, optional
        Drawn if left out.
    """
    kind = rng.random()
    if look is not None:
        shape, voxel = look
    elif kind < SHARE_COARSE:
        shape, voxel = COARSE_SHAPE, float(rng.uniform(*COARSE))
    elif kind < SHARE_COARSE + SHARE_WIDE:
        shape, voxel = WIDE_SHAPE, float(rng.uniform(*WIDE))
    else:
        shape, voxel = FINE_SHAPE, float(rng.uniform(*FINE))
    coarse = voxel > 3
    codes = _read_codes(head, rng, shape, voxel, coarse)
    corners, below, axes, matrix = codes
    labels = torch.from_numpy(CLASS_OF[corners])
    mean, spread = _intensities(rng)
    image = torch.from_numpy(mean[corners].sum(axis=0) * np.float32(0.25))
    spread_map = torch.from_numpy(spread[corners].sum(axis=0) * np.float32(0.25))
    brain = (labels < N_BRAIN).float().mean(dim=0)

    _lesions(rng, image, corners, brain)
    # texture inside the tissues, white and smooth
    noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    image = image + spread_map * noise * rng.uniform(0.3, 1.5)
    if rng.random() < 0.5:
        rough = _smooth_field(rng, 1, int(rng.integers(10, 22)), shape)[0]
        image = image * (1 + rough * (1 - brain) * rng.uniform(0, 0.6))
    if rng.random() < 0.5:
        rough = _smooth_field(rng, 1, int(rng.integers(6, 22)), shape)[0]
        image = image * (1 + rough * brain * rng.uniform(0, 0.2))
    image = image.clamp_min(0)

    draw = rng.random()
    if draw < 0.25:
        _strip(rng, image, labels, brain)
    elif draw < 0.45:
        _deface(rng, image, brain, axes, matrix)
    if rng.random() < 0.04:
        _void(rng, image, brain, voxel)
    image = _bias(rng, image)
    image = _scanner(rng, image, voxel)
    weight = _crop(rng, torch.ones(shape), brain)
    if below is not None and rng.random() < 0.6:
        weight = weight * torch.from_numpy(~below)
    if rng.random() < 0.06:
        image = image.max() - image
    return Sample(normalise(image, weight), labels, weight, voxel)


def _read_codes(
    head: Head, rng: np.random.Generator, shape: Shape, voxel: float, coarse: bool
) -> tuple[np.ndarray, np.ndarray | None, list[np.ndarray], np.ndarray]:
    """Draw a geometry and read a head's codes through it.

    Returns
    -------
    corners : ndarray of uint8, shape (4, D, H, W)
    below : ndarray of bool, shape (D, H, W), or None
        Below the lower end of the map.
    axes : list of ndarray
        mm from the middle of the view, along each axis.
    matrix : ndarray, shape (3, 3)
        From the view's mm to the map's.
    """
    degrees = 40.0 if rng.random() < 0.25 else 15.0
    zoom = rng.uniform(0.82, 1.15) * rng.uniform(0.93, 1.07, 3)
    matrix = _rotation(rng, degrees) @ np.diag(1 / zoom)
    matrix = matrix + rng.normal(0, 0.03, (3, 3))
    if rng.random() < 0.5:
        matrix = np.diag([-1.0, 1, 1]) @ matrix
    if rng.random() < 0.03:  # wrong headers exist
        matrix = matrix @ np.diag(rng.choice([-1.0, 1], 3))
    extent = np.array(shape) * voxel
    # A view that is smaller than the brain wanders over it.
    spare = np.clip((np.array([150.0, 185, 150]) - extent) / 2, 0, None)
    shift = rng.normal(0, 1, 3) * (30 if coarse else 6) + rng.uniform(-1, 1, 3) * spare
    if coarse:
        shift[2] -= rng.uniform(0, 45)
    axes = [(np.arange(n, dtype="f4") - (n - 1) / 2) * np.float32(voxel) for n in shape]
    m = matrix.astype("f4")
    start = (head.centre + shift + 0.5).astype("f4")
    bend = _smooth_field(rng, 3, 4, shape) * (rng.uniform(0, 5) * 2)
    bend += _smooth_field(rng, 3, int(rng.integers(7, 12)), shape) * (rng.uniform(0, 2) * 1.5)
    points = bend.numpy()
    for a in range(3):
        points[a] += m[a, 0] * axes[0][:, None, None]
        points[a] += m[a, 1] * axes[1][:, None] + (m[a, 2] * axes[2] + start[a])
    chances = (0.35, 0.25, 0.12, 0.10, 0.12, 0.06)
    codes = head.variants[int(rng.choice(len(head.variants), p=chances))]
    size, flat = codes.shape, codes.reshape(-1)
    corners = np.empty((len(CORNERS), *shape), np.uint8)
    below = None
    for k, corner in enumerate(CORNERS):
        offset = (m @ (corner * voxel)).astype("f4")
        index = None
        for a in range(3):
            place = points[a] + offset[a]
            np.clip(place, 0, size[a] - 1, out=place)
            step = place.astype(np.int32)
            if a == 2 and below is None and head.cut_below:
                below = step <= 1
            if index is None:
                index = step
            else:
                index *= size[a]
                index += step
        np.take(flat, index, out=corners[k])
    return corners, below, axes, m


def _lesions(
    rng: np.random.Generator, image: torch.Tensor, corners: np.ndarray, brain: torch.Tensor
) -> None:
    """Now and then make patches of white matter brighter or darker; in place. Targets stay."""
    if rng.random() > 0.2:
        return
    shape = tuple(image.shape)
    white = torch.from_numpy((corners == 1).mean(axis=0, dtype=np.float32))
    field = _smooth_field(rng, 1, int(rng.integers(14, 30)), shape)[0]
    level = torch.quantile(field.flatten()[::31], float(rng.uniform(0.85, 0.985)))
    patch = ((field - level) * 4).clamp(0, 1) * white * (brain > 0.9)
    image += patch * float(rng.choice([-1, 1]) * rng.uniform(0.1, 0.5))


def _strip(
    rng: np.random.Generator, image: torch.Tensor, labels: torch.Tensor, brain: torch.Tensor
) -> None:
    """Remove the skull as other programs do: with or without the outer CSF, a little wrong."""
    inside = brain
    if rng.random() < 0.4:
        inside = (labels < N_BRAIN - 1).float().mean(dim=0)
    inside = F.avg_pool3d(F.pad(inside[None, None], [1] * 6), 3, 1)[0, 0]
    error = _smooth_field(rng, 1, int(rng.integers(4, 14)), tuple(image.shape))[0]
    keep = inside + error * float(rng.uniform(0, 0.3)) > float(rng.uniform(0.2, 0.7))
    keep &= F.max_pool3d(brain[None, None], 5, 1, 2)[0, 0] > 0
    image[~keep] = 0.0 if rng.random() < 0.9 else float(rng.uniform(0, 0.3))
    labels[:, ~keep] = NOTHING


def _deface(
    rng: np.random.Generator,
    image: torch.Tensor,
    brain: torch.Tensor,
    axes: list[np.ndarray],
    matrix: np.ndarray,
) -> None:
    """Blank the face before a plane, never the brain; in place."""
    x = [
        matrix[a, 0] * axes[0][:, None, None]
        + matrix[a, 1] * axes[1][:, None]
        + matrix[a, 2] * axes[2]
        for a in (1, 2)
    ]
    tilt = np.deg2rad(rng.uniform(-10, 65))
    depth = x[0] * np.cos(tilt) - x[1] * np.sin(tilt)
    cut = torch.from_numpy(depth > rng.uniform(50, 90))
    near = F.max_pool3d(brain[None, None], 3, 1, 1)[0, 0] > 0
    image[cut & ~near] = float(rng.choice([0.0, 0.0, 0.0, rng.uniform(0, 1)]))


def _void(rng: np.random.Generator, image: torch.Tensor, brain: torch.Tensor, voxel: float) -> None:
    """Blank a ball outside the brain, with a bright rim, as metal does; in place."""
    places = torch.nonzero((brain == 0) & (image > 0.05))
    if len(places) == 0:
        return
    at = places[int(rng.integers(len(places)))]
    square = sum(
        ((torch.arange(n) - at[a]) * voxel).float().reshape([-1 if b == a else 1 for b in range(3)])
        ** 2
        for a, n in enumerate(image.shape)
    )
    radius = float(rng.uniform(8, 30))
    image[(square < radius**2) & (brain < 0.5)] = 0.0
    rim = (square >= radius**2) & (square < (radius + 4) ** 2) & (brain < 0.5)
    image[rim] *= 1.8


def _bias(rng: np.random.Generator, image: torch.Tensor) -> torch.Tensor:
    """Multiply by a smooth profile; one in eight as strong as at 7 T."""
    if rng.random() < 0.85:
        strong = 0.9 if rng.random() < 0.12 else 0.45
        field = _smooth_field(rng, 1, int(rng.integers(2, 5)), tuple(image.shape))[0]
        image = image * torch.exp(field * float(rng.uniform(0, strong)))
    return image


def _scanner(rng: np.random.Generator, image: torch.Tensor, voxel: float) -> torch.Tensor:
    """Blur, slices of up to 6 mm, Rician noise and gamma."""
    if rng.random() < 0.3:
        image = _blur(image, tuple(rng.uniform(0.2, 0.9, 3)))
    else:
        image = _blur(image, (s := float(rng.uniform(0, 0.6)), s, s))
    if rng.random() < 0.25:
        thick = max(2, round(float(rng.uniform(2.5, 6.0)) / voxel))
        a = int(rng.integers(3))
        n = image.shape[a]
        kernel = [1, 1, 1]
        kernel[a] = thick
        pooled = F.avg_pool3d(image[None, None], kernel, kernel, [0, 0, 0], ceil_mode=True)
        size = list(image.shape)
        size[a] = pooled.shape[2 + a] * thick
        mode = "trilinear" if rng.random() < 0.7 else "nearest"
        back = F.interpolate(pooled, size=size, mode=mode)[0, 0]
        image = back.narrow(a, 0, n).contiguous()
    if rng.random() < 0.8:
        level = float(rng.uniform(0, 0.09) * torch.quantile(image.flatten()[::7], 0.97))
        real, other = (
            torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32)) * level
            for _ in range(2)
        )
        image = torch.sqrt((image + real) ** 2 + other**2)
    if rng.random() < 0.6:
        top = image.max().clamp_min(1e-6)
        image = top * (image.clamp_min(0) / top) ** float(np.exp(rng.normal(0, 0.3)))
    return image


def _crop(rng: np.random.Generator, weight: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
    """Fields of view end anywhere, now and then inside the brain."""
    if rng.random() < 0.3:
        for a in range(3):
            hit = torch.nonzero(brain.amax(dim=[d for d in range(3) if d != a]) > 0.5).flatten()
            if hit.numel() == 0:
                continue
            lo, hi, n = int(hit[0]), int(hit[-1]), weight.shape[a]
            reach = 0.2 * (hi - lo) if rng.random() < 0.35 else 0
            if rng.random() < 0.5:
                end = int(rng.uniform(0, max(lo + reach, 1)))
                weight.narrow(a, 0, min(end, n)).zero_()
            if rng.random() < 0.5:
                begin = int(rng.uniform(min(hi - reach, n - 1), n)) + 1
                if begin < n:
                    weight.narrow(a, begin, n - begin).zero_()
    return weight


def normalise(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Scale the 1st and 99th percentile of the field of view to 0 and 1; 0 outside it.

    The inference does the same.
    """
    seen = image[weight > 0]
    if seen.numel() < 100:
        return image * 0
    low, high = torch.quantile(seen[:: max(1, seen.numel() // 100_000)], torch.tensor([0.01, 0.99]))
    scaled = (image - low) / (high - low).clamp_min(1e-6)
    return scaled.clamp(-0.2, 1.5) * (weight > 0)
