"""Synthesise heads of any contrast from label maps, to train the brain-extraction network.

Needs PyTorch (training only). A label map is cut into the classes of `CLASSES`; each training
sample draws a geometry (voxel size, rotation, shear, flip, smooth deformation), reads the labels
at four points of every voxel of the network's grid (partial volume), draws an intensity for every
class and spoils the image as scanners and archives do. The idea is that of Billot et al.,
SynthSeg (doi:10.1016/j.media.2023.102789) and Hoopes et al., SynthStrip
(doi:10.1016/j.neuroimage.2022.119474).

The target, throughout the project: the whole brain with the CSF inside the dura. Channel 0 is the
brain's tissue with its ventricles, channel 1 the same with the CSF around it; both end below at the
lowest voxel of the brain stem, about the foramen magnum.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage as ndi

HELD_OUT = (5, 9, 14, 18)
"""Label maps that no training sample is made from: they validate."""

# Codes of the maps (FreeSurfer's inside the brain; from 500 on tissues outside) by class.
# Classes 16, 19-22, 30 and 31 have no code of their own: `prepare` derives them.
CLASSES: dict[int, tuple[int, ...]] = {
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
N_CLASSES = 32
GREY, WHITE, FLUID = (2, 5, 6, 7, 8, 12), (1, 4, 9, 11, 13, 26), (3, 10, 14, 30)
TISSUE_BIT, ICV_BIT = 64, 128


@dataclass(frozen=True, eq=False)
class Head:
    """A prepared label map: class in the low bits, the two targets in the two highest.

    Attributes
    ----------
    codes : ndarray of uint8, shape (I, J, K)
        1 mm, RAS+.
    centre : ndarray, shape (3,)
        Middle of the brain, in voxels.
    cut_below : bool
        The head touches the lower end of the map: nothing is known below.
    full : ndarray of uint8, shape (I, J, K)
        The same head with less CSF (`with_thick_cortex`).
    """

    codes: np.ndarray
    centre: np.ndarray
    cut_below: bool
    full: np.ndarray | None = None


def prepare(path: Path) -> Head:
    """Read a label map, cut it into classes and add the targets."""
    image = nib.as_closest_canonical(nib.load(path))
    labels = np.asarray(image.dataobj).astype(np.int16)
    table = np.zeros(1000, np.uint8)
    for index, codes in CLASSES.items():
        table[list(codes)] = index
    classes = table[labels]
    del labels
    ball = ndi.generate_binary_structure(3, 1)
    inside = (classes >= 1) & (classes <= 16)
    tissue = _largest(inside & (classes != 14))
    floor = int(np.flatnonzero((classes == 11).any(axis=(0, 1)))[0])
    icv = inside.copy()
    icv[:, :, :floor] = False
    icv = _largest(ndi.binary_opening(icv, ball, iterations=2)) | tissue
    icv = ndi.binary_fill_holes(ndi.binary_closing(icv, ball, iterations=2))
    icv[:, :, :floor] = False
    tissue = ndi.binary_fill_holes(ndi.binary_closing(tissue, ball, iterations=2)) & icv

    head = ndi.binary_fill_holes(classes > 0)
    classes[(classes == 14) & ~icv] = SPINAL_CSF
    classes[(classes == 0) & icv] = CHOROID
    classes[(classes == 0) & ndi.binary_closing(head, ball, iterations=6)] = INNER_AIR
    _split_soft_tissue(classes)
    codes = classes | (tissue * np.uint8(TISSUE_BIT)) | (icv * np.uint8(ICV_BIT))
    hit = np.argwhere(classes > 0)
    lo, hi = hit.min(axis=0), hit.max(axis=0) + 1
    codes = np.pad(codes[lo[0] : hi[0], lo[1] : hi[1], lo[2] : hi[2]], 1)
    centre = (np.argwhere(tissue).min(axis=0) + np.argwhere(tissue).max(axis=0)) / 2 - lo + 1
    bottom = (codes[:, :, 1] > 0).sum() > 2000
    return Head(np.ascontiguousarray(codes), centre, bool(bottom))


def _largest(mask: np.ndarray) -> np.ndarray:
    parts, n = ndi.label(mask)
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])) if n else mask


def _split_soft_tissue(classes: np.ndarray) -> None:
    """One code stands for scalp fat, muscle, salivary glands...: split it into four, in place."""
    soft = classes == SOFT[0]
    rng = np.random.default_rng(0)
    field = ndi.zoom(rng.normal(size=[s // 12 + 2 for s in classes.shape]), 12, order=1)
    field = field[tuple(slice(s) for s in classes.shape)]
    fine = ndi.zoom(rng.normal(size=[s // 5 + 2 for s in classes.shape]), 5, order=1)
    field = field + 0.7 * fine[tuple(slice(s) for s in classes.shape)]
    low, high = np.quantile(field[soft], (0.45, 0.75))
    depth = ndi.distance_transform_edt(ndi.binary_fill_holes(classes > 0))
    classes[soft & (field > low)] = SOFT[1]
    classes[soft & (field > high)] = SOFT[2]
    classes[soft & (depth < 4.5 + 1.5 * np.clip(field, -2, 2))] = SOFT[3]


def with_thick_cortex(codes: np.ndarray) -> np.ndarray:
    """Let the cortex grow by 2 mm into the CSF: the maps' sulci are wide, young brains' are not."""
    ball = ndi.generate_binary_structure(3, 1)
    out = codes.copy()
    classes = codes & (N_CLASSES - 1)
    for cortex in (2, 5):
        near = ndi.binary_dilation(classes == cortex, ball, iterations=2) & (classes == 14)
        out[near] = cortex | TISSUE_BIT | ICV_BIT
    return out


def load_heads(folder: Path, cache: Path) -> dict[int, Head]:
    """Prepare every label map once and keep the result in `cache`."""
    heads = {}
    for path in sorted(folder.glob("training_seg_*.nii.gz")):
        number = int(path.name[13:15])
        kept = cache / f"head_{number:02d}.npz"
        if not kept.exists():
            head = prepare(path)
            np.savez_compressed(
                kept, codes=head.codes, centre=head.centre, cut_below=head.cut_below
            )
        with np.load(kept) as z:
            codes = z["codes"]
            full = with_thick_cortex(codes)
            heads[number] = Head(codes, z["centre"], bool(z["cut_below"]), full)
    return heads


def _smooth_field(rng: np.random.Generator, channels: int, points: int, size: int) -> torch.Tensor:
    """Gaussian noise on `points`^3 control points, interpolated smoothly to `size`^3."""
    noise = torch.from_numpy(rng.normal(size=(1, channels, points, points, points)).astype("f4"))
    noise = F.interpolate(noise, size=max(3 * points, 8), mode="trilinear", align_corners=True)
    noise = F.avg_pool3d(F.pad(noise, [1] * 6, mode="replicate"), 3, 1)
    return F.interpolate(noise, size=size, mode="trilinear", align_corners=True)[0]


def _blur(image: torch.Tensor, sigma: tuple[float, float, float]) -> torch.Tensor:
    """Gaussian blur of (D, H, W), sigma in voxels along each axis."""
    x = image[None, None]
    for axis, s in enumerate(sigma):
        if s < 0.2:
            continue
        r = int(np.ceil(2.5 * s))
        k = torch.exp(-0.5 * (torch.arange(-r, r + 1) / s) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 2 * r + 1
        pad = [0, 0, 0, 0, 0, 0]
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = r
        x = F.conv3d(F.pad(x, pad, mode="replicate"), (k / k.sum()).view(shape))
    return x[0, 0]


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
    "T1w": (0.55, 0.80, 0.20, 1.00, 0.45, 0.10, 0.70, 0.20, 0.50, 0.50, 0.70),
    "T2w": (0.60, 0.45, 1.00, 0.65, 0.25, 0.06, 0.45, 0.95, 0.10, 0.80, 0.40),
    "FLAIR": (0.65, 0.52, 0.15, 0.60, 0.35, 0.08, 0.40, 0.20, 0.20, 0.75, 0.45),
    "PDw": (0.85, 0.70, 0.90, 0.85, 0.60, 0.10, 0.55, 0.85, 0.35, 0.80, 0.60),
}


def _intensities(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of every class: independent, or by families of tissues that go together."""
    mean = rng.uniform(0, 1, N_CLASSES)
    spread = rng.uniform(0.0, 0.08, N_CLASSES) * rng.choice([0.3, 1.0, 1.5])
    kind = rng.random()
    if kind > 0.15:
        if kind > 0.4:
            row = np.array(CONTRASTS[str(rng.choice(list(CONTRASTS)))])
            row = row + rng.normal(0, 0.1, row.size) + rng.normal(0, 0.05)
        else:
            row = rng.uniform(0, 1, 11)
            if rng.random() < 0.7:
                row[5] *= 0.3
        grey, white, fluid, fat, muscle, bone, marrow, eye, vessel, mucosa, skin = row
        for family, value, jitter in (
            (GREY, grey, 0.05),
            (WHITE, white, 0.05),
            (FLUID, fluid, 0.04),
        ):
            mean[list(family)] = value + rng.normal(0, jitter, len(family))
        for c in (6, 8, 12):  # deep grey matter lies between grey and white
            mean[c] += rng.uniform(0, 0.6) * (white - grey)
        mean[9] = grey + rng.uniform(0, 1) * (white - grey)
        mean[CHOROID] = rng.choice([grey, fluid]) + rng.normal(0, 0.08)
        mean[15] = rng.uniform(0, 1)
        mean[list(SOFT)] = np.array([muscle, muscle, fat, fat]) + rng.normal(0, 0.1, 4)
        mean[28], mean[29] = bone, bone + rng.uniform(0.2, 1.0) * (marrow - bone)
        mean[18], mean[17], mean[24], mean[25] = eye, vessel, mucosa, skin
        mean[27] = rng.choice([vessel, fluid, grey, bone]) + rng.normal(0, 0.08)
        mean[23] = white + rng.normal(0, 0.1)
    if rng.random() < 0.92:
        mean[0] = mean[INNER_AIR] = 0.0
        spread[0] = rng.choice([0.0, 0.01, 0.03])
    else:
        mean[0] = rng.uniform(0, 0.5)
        mean[INNER_AIR] = mean[0] if rng.random() < 0.7 else mean[INNER_AIR]
    return np.clip(mean, 0, 1.2).astype("f4"), spread.astype("f4")


# The two looks of `brainseg.anatomy.network`: voxels along a side, and their sizes in mm.
COARSE_SIDE, COARSE = 64, (3.4, 4.6)
FINE_SIDE, FINE = 80, (2.1, 3.0)

# Four of the eight half-voxel corners, a tetrahedron: partial volume at half the price.
CORNERS = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]) * 0.25


def synthesise(
    head: Head, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Make one training sample: one in five a whole-head view, the others centred on the brain.

    Parameters
    ----------
    head : Head
    rng : Generator

    Returns
    -------
    image : Tensor, shape (1, size, size, size), about 0 to 1
        `COARSE_SIDE` or `FINE_SIDE` along a side.
    target : Tensor, shape (2, size, size, size), 0 to 1
    weight : Tensor, shape (1, size, size, size)
        0 outside the field of view.
    """
    coarse = bool(rng.random() < 0.2)
    size = COARSE_SIDE if coarse else FINE_SIDE
    voxel = rng.uniform(*COARSE) if coarse else rng.uniform(*FINE)
    degrees = 40.0 if rng.random() < 0.3 else 15.0
    zoom = rng.uniform(0.85, 1.15) * rng.uniform(0.93, 1.07, 3)
    matrix = _rotation(rng, degrees) @ np.diag(1 / zoom)
    matrix = matrix + rng.normal(0, 0.03, (3, 3))
    if rng.random() < 0.5:
        matrix = np.diag([-1.0, 1, 1]) @ matrix
    if rng.random() < 0.03:  # wrong headers exist
        matrix = matrix @ np.diag(rng.choice([-1.0, 1], 3))
    shift = rng.normal(0, 1, 3) * ((30, 30, 30) if coarse else (8, 8, 8))
    if coarse:
        shift[2] -= rng.uniform(0, 45)

    axis = (np.arange(size, dtype="f4") - (size - 1) / 2) * np.float32(voxel)
    m = matrix.astype("f4")
    start = (head.centre + shift).astype("f4")
    points = [
        (m[a, 0] * axis[:, None, None] + m[a, 1] * axis[:, None] + (m[a, 2] * axis + start[a]))
        for a in range(3)
    ]
    bend = _smooth_field(rng, 3, 4, size) * rng.uniform(0, 5) * 2
    bend += _smooth_field(rng, 3, int(rng.integers(7, 12)), size) * rng.uniform(0, 2) * 1.5
    bend_np = bend.numpy()
    codes = head.full if head.full is not None and rng.random() < 0.4 else head.codes
    shape = codes.shape
    mean, spread = _intensities(rng)
    table = np.zeros((256, 4), "f4")
    codes_all = np.arange(256)
    table[:, 0] = np.resize(mean, 256)[codes_all % N_CLASSES]
    table[:, 1] = np.resize(spread, 256)[codes_all % N_CLASSES]
    table[:, 2] = (codes_all & TISSUE_BIT) > 0
    table[:, 3] = (codes_all & ICV_BIT) > 0
    total = np.zeros((size, size, size, 4), "f4")
    flat_codes = codes.reshape(-1)
    below = None
    for corner in CORNERS:
        offset = (m @ (corner * voxel)).astype("f4")
        index = None
        for a in range(3):
            p = points[a] + bend_np[a]
            p += offset[a] + np.float32(0.5)
            np.clip(p, 0, shape[a] - 1, out=p)
            p = p.astype(np.int32)
            if a == 2 and below is None and head.cut_below:
                below = p <= 1
            index = p if index is None else index * shape[a] + p
        total += table[flat_codes[index]]
    total *= 0.25
    image = torch.from_numpy(np.ascontiguousarray(total[..., 0]))
    spread_map = torch.from_numpy(np.ascontiguousarray(total[..., 1]))
    target = torch.from_numpy(np.ascontiguousarray(total[..., 2:].transpose(3, 0, 1, 2)))
    weight = torch.ones(size, size, size)

    # texture inside the tissues, white and smooth
    noise = torch.from_numpy(rng.standard_normal((size, size, size), dtype=np.float32))
    image = image + spread_map * noise * rng.uniform(0.3, 1.5)
    outside = 1 - target[1]
    if rng.random() < 0.5:
        rough = _smooth_field(rng, 1, int(rng.integers(10, 22)), size)[0]
        image = image * (1 + rough * outside * rng.uniform(0, 0.6))
    if rng.random() < 0.5:
        rough = _smooth_field(rng, 1, int(rng.integers(6, 22)), size)[0]
        image = image * (1 + rough * target[1] * rng.uniform(0, 0.2))
    image = image.clamp_min(0)

    # stripped, defaced, cropped
    if rng.random() < 0.07:
        keep = target[int(rng.integers(2))] > rng.uniform(0.3, 0.7)
        image = image * keep
        target = target * keep
    elif rng.random() < 0.3:
        _deface(rng, image, target, axis, m)
    image = _bias(rng, image, size)
    image = _scanner(rng, image, voxel)
    weight = _crop(rng, weight, target)
    if below is not None and rng.random() < 0.6:
        weight = weight * torch.from_numpy(~below)
    if rng.random() < 0.08:
        image = image.max() - image
    image = normalise(image, weight)
    return image[None], target, weight[None]


def _deface(
    rng: np.random.Generator,
    image: torch.Tensor,
    target: torch.Tensor,
    axis: np.ndarray,
    matrix: np.ndarray,
) -> None:
    """Blank the face before a plane, never the brain; in place."""
    x = [
        matrix[a, 0] * axis[:, None, None] + matrix[a, 1] * axis[:, None] + matrix[a, 2] * axis
        for a in (1, 2)
    ]
    tilt = np.deg2rad(rng.uniform(-10, 65))
    depth = x[0] * np.cos(tilt) - x[1] * np.sin(tilt)
    cut = torch.from_numpy(depth > rng.uniform(50, 90))
    near = F.max_pool3d(target[1][None, None], 3, 1, 1)[0, 0] > 0
    image[cut & ~near] = float(rng.choice([0.0, 0.0, 0.0, rng.uniform(0, 1)]))


def _bias(rng: np.random.Generator, image: torch.Tensor, size: int) -> torch.Tensor:
    if rng.random() < 0.85:
        field = _smooth_field(rng, 1, int(rng.integers(2, 5)), size)[0]
        image = image * torch.exp(field * rng.uniform(0, 0.45))
    return image


def _scanner(rng: np.random.Generator, image: torch.Tensor, voxel: float) -> torch.Tensor:
    """Blur, thick slices, Rician noise and gamma."""
    if rng.random() < 0.3:
        image = _blur(image, tuple(rng.uniform(0.2, 0.9, 3)))
    else:
        image = _blur(image, (s := float(rng.uniform(0, 0.55)), s, s))
    if rng.random() < 0.3:
        thick = int(rng.choice([2, 2, 3]))
        a = int(rng.integers(3))
        n = image.shape[a]
        kernel, pad = [1, 1, 1], [0, 0, 0]
        kernel[a] = thick
        pooled = F.avg_pool3d(image[None, None], kernel, kernel, pad, ceil_mode=True)
        size = list(image.shape)
        size[a] = pooled.shape[2 + a] * thick
        mode = "trilinear" if rng.random() < 0.7 else "nearest"
        back = F.interpolate(pooled, size=size, mode=mode)[0, 0]
        image = back.narrow(a, 0, n).contiguous()
    if rng.random() < 0.8:
        level = float(rng.uniform(0, 0.08) * torch.quantile(image.flatten()[::7], 0.97))
        real, other = (
            torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32)) * level
            for _ in range(2)
        )
        image = torch.sqrt((image + real) ** 2 + other**2)
    if rng.random() < 0.6:
        top = image.max().clamp_min(1e-6)
        image = top * (image.clamp_min(0) / top) ** float(np.exp(rng.normal(0, 0.3)))
    return image


def _crop(rng: np.random.Generator, weight: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Fields of view end anywhere, now and then inside the brain."""
    if rng.random() < 0.4:
        hit = [
            torch.nonzero(target[1].amax(dim=[d for d in range(3) if d != a]) > 0.5).flatten()
            for a in range(3)
        ]
        for a in range(3):
            if hit[a].numel() == 0:
                continue
            lo, hi, n = int(hit[a][0]), int(hit[a][-1]), weight.shape[a]
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

    The inference does the same (`brainseg.anatomy.network`).
    """
    seen = image[weight > 0]
    if seen.numel() < 100:
        return image * 0
    low, high = torch.quantile(seen[:: max(1, seen.numel() // 100_000)], torch.tensor([0.01, 0.99]))
    scaled = (image - low) / (high - low).clamp_min(1e-6)
    return scaled.clamp(-0.2, 1.5) * (weight > 0)
