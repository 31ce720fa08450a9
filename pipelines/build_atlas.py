"""Build the head atlas of ``data/`` from whole-head label maps.

    python pipelines/build_atlas.py --data ../shared/data

1. Each map's labels become the classes of `brainseg.atlas.head_atlas.CLASSES`, as fractions of
   2 mm voxels.
   The brain is everything inside the dura, CSF included, down to the lower end of brain stem and
   cerebellum; choroid plexus counts as CSF, lesions as white matter, ventral diencephalon,
   hippocampus and amygdala as deep grey.
2. Affine groupwise alignment, started from the brains' centroids and sizes: each head is found in
   the current mean (the program's own registration on a synthetic T1), the mean is taken anew.
3. Non-linear groupwise alignment by demons on the class maps; the mean's shape is moved by the
   mean displacement, so that it is the shape of the average head and not of the first.
4. Each mean is averaged with its mirror image: twice the samples, and no side is preferred.

With ``--exclude`` some maps are left out, to judge the atlas on heads that it has not seen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from datetime import date
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

import brainseg
from brainseg.atlas.head_atlas import ASSET, BRAIN, CLASSES, Atlas, write_atlas
from brainseg.atlas.registration import register_atlas
from brainseg.atlas.warping import demons, enlarge, pull, shrink, smooth

ROOT = Path(__file__).resolve().parents[1]
ZOOM = 2.0
SHAPE = (92, 116, 100)
CENTRE_OF_BRAIN = (45.5, 54.0, 56.0)

# FreeSurfer's codes; over 500 those of the maps' authors for tissues outside the brain
CODES = {
    "csf": (4, 5, 14, 15, 24, 43, 44, 31, 63, 72, 136, 137, 163, 164),
    "cortical_grey": (3, 42),
    "white": (2, 41, 25, 57, 77, 85, 30, 62),
    "deep_grey": (10, 11, 12, 13, 17, 18, 26, 28, 49, 50, 51, 52, 53, 54, 58, 60),
    "brain_stem": (16,),
    "cerebellar_grey": (8, 47),
    "cerebellar_white": (7, 46),
    "skull": (515, 516),
    "other": (502, 506, 507, 508, 509, 511, 512, 514, 530),
}
T1 = dict(zip(CLASSES, (0.22, 0.62, 1.0, 0.8, 0.93, 0.62, 0.95, 0.2, 0.7, 0.0), strict=True))
# what demons compare: tissues inside the brain count fully, those outside help at the border
CHANNELS = (("csf",), ("cortical_grey", "deep_grey", "cerebellar_grey"), ("white",),
            ("deep_grey",), ("brain_stem",), ("cerebellar_grey", "cerebellar_white"),
            ("cerebellar_white",), BRAIN)  # fmt: skip


def class_of_code() -> np.ndarray:
    """Table from code to class index; codes that are not listed count as air."""
    table = np.full(1024, CLASSES.index("air"), np.uint8)
    for name, codes in CODES.items():
        table[list(codes)] = CLASSES.index(name)
    return table


def read_classes(path: Path) -> np.ndarray:
    """Class index of each 1 mm voxel, RAS+, with the brain ending at the foramen magnum."""
    image = nib.as_closest_canonical(nib.load(path))
    codes = np.asarray(image.dataobj).astype(np.int32)
    labels = class_of_code()[codes]
    csf, other = CLASSES.index("csf"), CLASSES.index("other")
    components, _ = ndimage.label(labels <= CLASSES.index("cerebellar_white"))
    brain = components == np.bincount(components.ravel())[1:].argmax() + 1
    hind = np.isin(labels, [CLASSES.index(n) for n in ("brain_stem", "cerebellar_grey")])
    floor = np.flatnonzero((hind & brain).any(axis=(0, 1)))[0]
    brain[:, :, :floor] = False
    labels[(labels == csf) & ~brain] = other
    return labels


def fractions(labels: np.ndarray) -> np.ndarray:
    """Shares of the classes in blocks of 2 x 2 x 2 voxels, 8 bit, shape (10, i, j, k)."""
    i, j, k = (n // 2 for n in labels.shape)
    out = np.empty((len(CLASSES), i, j, k), np.uint8)
    for c in range(len(CLASSES)):
        blocks = (labels[: 2 * i, : 2 * j, : 2 * k] == c).reshape(i, 2, j, 2, k, 2)
        out[c] = np.round(blocks.mean(axis=(1, 3, 5)) * 255)
    return out


def first_guess(shares: np.ndarray, size: float) -> np.ndarray:
    """Atlas voxels to the head's mm: the brain's centroid on its place, its volume to `size`."""
    brain = shares[: len(BRAIN)].astype(np.float32).sum(axis=0)
    volume = brain.sum() * ZOOM**3 / 255
    centre = np.array(ndimage.center_of_mass(brain)) * ZOOM
    out = np.diag([ZOOM * (volume / size) ** (1 / 3)] * 3 + [1.0])
    out[:3, 3] = centre - out[:3, :3] @ np.array(CENTRE_OF_BRAIN)
    return out


def onto_atlas(shares: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Put shares on the atlas grid, float32 0..1; what lies outside of the head's grid is air."""
    index = np.diag([1 / ZOOM] * 3 + [1.0]) @ matrix
    out = np.empty((len(shares), *SHAPE), np.float32)
    for c, source in enumerate(shares):
        fill = 1.0 if CLASSES[c] == "air" else 0.0
        out[c] = ndimage.affine_transform(
            source.astype(np.float32) / 255, index[:3, :3], index[:3, 3], SHAPE,
            order=1, mode="constant", cval=fill,
        )  # fmt: skip
    return out


def mirrored(maps: np.ndarray) -> np.ndarray:
    """Mean of the maps and their left-right mirror image."""
    return (maps + maps[:, ::-1]) / 2


def as_atlas(maps: np.ndarray) -> Atlas:
    """Normalise the maps and add the synthetic T1."""
    maps = np.clip(maps, 0, None)
    maps = maps / maps.sum(axis=0, keepdims=True)
    template = np.tensordot(np.array([T1[c] for c in CLASSES]), maps, 1)
    return Atlas(maps.astype(np.float32), template.astype(np.float32), ZOOM)


def channels(maps: np.ndarray) -> np.ndarray:
    """Merge the classes into those that demons compare."""
    return np.stack([maps[[CLASSES.index(n) for n in names]].sum(axis=0) for names in CHANNELS])


def reduced(maps: np.ndarray, merge: int) -> np.ndarray:
    """Average blocks of `merge` voxels along each axis of each map."""
    return np.stack([shrink(m, [merge] * 3) for m in maps])


def groupwise_affine(heads: list[np.ndarray], rounds: int) -> tuple[list[np.ndarray], Atlas]:
    """Matrices of all heads and the mean of the aligned heads."""
    volumes = [h[: len(BRAIN)].astype(np.float64).sum() * ZOOM**3 / 255 for h in heads]
    size = float(np.mean(volumes))
    matrices = [first_guess(h, size) for h in heads]
    for turn in range(rounds):
        mean = as_atlas(
            mirrored(sum(onto_atlas(h, m) for h, m in zip(heads, matrices, strict=True)))
        )
        fits = []
        for head in heads:
            picture = np.tensordot(
                np.array([T1[c] for c in CLASSES], np.float32), head.astype(np.float32) / 255, 1
            )
            fits.append(register_atlas(picture, mean, zooms=(ZOOM,) * 3, warp=False))
        # the mean head keeps the mean size: divide by the average of the linear parts
        linear = np.mean([np.linalg.inv(f.matrix[:3, :3]) for f in fits], axis=0) * ZOOM
        linear = np.diag(np.diag(linear))
        centre = np.array(CENTRE_OF_BRAIN)
        undo = np.eye(4)
        undo[:3, :3] = linear
        undo[:3, 3] = centre - linear @ centre
        matrices = [f.matrix @ undo for f in fits]
        print(f"affine round {turn + 1}: explained", np.round([f.explained for f in fits], 3))
    mean = as_atlas(mirrored(sum(onto_atlas(h, m) for h, m in zip(heads, matrices, strict=True))))
    return matrices, mean


def groupwise_warp(heads: list[np.ndarray], matrices: list[np.ndarray], mean: Atlas) -> Atlas:
    """Sharpen the mean by demons, coarse to fine; heads follow the mean of their number."""
    fields: list[np.ndarray | None] = [None] * len(heads)
    factor = 2
    # (voxels merged along each axis, blur of both sides, iterations, elastic sigma)
    plan = ((2, 0.8, 15, 1.5), (2, 0.5, 15, 1.0), (2, 0.0, 15, 0.8), (1, 0.6, 6, 1.2))
    for turn, (merge, blur, iterations, elastic) in enumerate(plan):
        target = smooth(reduced(channels(mean.probabilities), merge), blur)
        total, shift = np.zeros_like(mean.probabilities), np.zeros((3, *SHAPE), np.float32)
        for i, (head, matrix) in enumerate(zip(heads, matrices, strict=True)):
            maps = onto_atlas(head, matrix)
            start = fields[i]
            if start is not None and merge < factor:
                start = enlarge(start, (3, *SHAPE))
            field = demons(
                target, smooth(reduced(channels(maps), merge), blur), field=start,
                iterations=iterations, elastic=elastic,
            )  # fmt: skip
            fields[i] = field
            full = field if merge == 1 else enlarge(field, (3, *SHAPE))
            total += np.stack([pull(m, full) for m in maps])
            shift += full
        factor = merge
        shift /= len(heads)
        shift[0] = (shift[0] - shift[0, ::-1]) / 2
        shift[1:] = (shift[1:] + shift[1:, ::-1]) / 2
        moved = np.stack([pull(m, -shift) for m in total])
        fields = [f - reduced(shift, merge) / merge for f in fields if f is not None]
        mean = as_atlas(mirrored(moved))
        certain = mean.probabilities[: len(BRAIN)].max(axis=0)[mean.of(*BRAIN) > 0.5].mean()
        print(
            f"warp round {turn + 1}: mean shift {np.abs(shift).mean():.3f}, certainty {certain:.3f}"
        )
    return mean


def provenance(asset: Path, sources: list[Path]) -> str:
    """Say where the asset comes from, as JSON."""
    note = {
        "Name": "brainseg head atlas",
        "Description": "Class probabilities of an average adult head at 2 mm, symmetric",
        "Classes": list(CLASSES),
        "Codes": {k: list(v) for k, v in CODES.items()},
        "License": "Apache-2.0",
        "Source": "whole-head training label maps of SynthSeg (Billot et al., Med Image Anal "
        "2023, doi:10.1016/j.media.2023.102789), Apache-2.0",
        "SourceFiles": [p.name for p in sources],
        "Recipe": "pipelines/build_atlas.py",
        "Version": brainseg.__version__,
        "Date": date.today().isoformat(),
        "SHA256": hashlib.sha256(asset.read_bytes()).hexdigest(),
    }
    return json.dumps(note, indent=1) + "\n"


def main() -> None:
    """Parse the options and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--exclude", type=int, nargs="*", default=[], help="numbers of maps")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "data" / ASSET)
    options = parser.parse_args()
    paths = [
        p
        for p in sorted((options.data / "labelmaps").glob("training_seg_*.nii.gz"))
        if int(p.name.split("_")[2][:2]) not in options.exclude
    ]
    heads = [fractions(read_classes(p)) for p in paths]
    print(f"{len(heads)} heads read")
    matrices, mean = groupwise_affine(heads, rounds=2)
    atlas = groupwise_warp(heads, matrices, mean)
    write_atlas(options.output, atlas.probabilities, atlas.template, ZOOM)
    options.output.with_suffix(".json").write_text(provenance(options.output, paths))
    print(f"{options.output.name}: {options.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
