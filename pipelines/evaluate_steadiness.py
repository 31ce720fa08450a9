"""How far the volumes of the six tissues move when the scan, not the head, changes.

    python pipelines/evaluate_steadiness.py --data ../shared/data [--heads colin27] [--cache DIR]

A real T1w head is spoiled in a known way: intensities bent by a power (gamma), a coil's profile,
noise, a turned head, other voxels, a FLAIR scan beside it, a mask that is a voxel larger. Each
spoiled scan goes through mask, spatial prior and fit as in a run. Printed is the change of each
tissue's volume in per cent of the clean scan's, and Dice of grey and white matter with the clean
labels where the voxels are the same. The limits are 3 %, and 5 % for deep grey matter and stem.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from benchmark_extraction import averaged, bias, rotated
from evaluate_network import Case
from evaluate_regions import arguments, found
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits

from brainseg.alignment.contrasts import align_contrast
from brainseg.core.metrics import dice
from brainseg.core.volume import Array, BoolArray, Volume
from brainseg.io import nifti
from brainseg.tissues import tables
from brainseg.tissues.fit import fit_tissues

HEADS = {
    "lhdata_sub-01": "heads/lhdata_sub-01_T1w.nii.gz",
    "lhdata_sub-02": "heads/lhdata_sub-02_T1w.nii.gz",
    "colin27": "truth/colin27/colin27_t1.nii.gz",
    "fs001": "anatomy/fs001_T1w.mgz",
    "nc01": "anatomy/nc01_T1w.nii.gz",
}
COLUMNS = ("CSF", "GM", "WM", "deep grey", "stem")
LIMITS = (3.0, 3.0, 3.0, 5.0, 5.0)


def spoil(volume: Volume, brain: BoolArray) -> Iterator[tuple[str, Volume]]:
    """Yield the ways of the table; `brain` is the clean scan's mask, by which noise is scaled."""
    rng = np.random.default_rng(0)
    data = volume.data.astype(np.float32)
    low, high = float(data.min()), float(np.percentile(data[brain], 99))
    for gamma in (0.8, 1.25):
        bent = np.clip((data - low) / (high - low), 0, None) ** gamma
        yield f"gamma {gamma:g}", volume.with_data(bent.astype(np.float32))
    for strength in (0.2, 0.4, 0.6):
        yield f"bias {strength:.0%}", volume.with_data(data * bias(volume.shape, strength))
    for level in (0.03, 0.05, 0.09):
        real, other = (
            rng.normal(0, level * high, volume.shape).astype(np.float32) for _ in range(2)
        )
        yield f"noise {level:.0%}", volume.with_data(np.sqrt((data + real) ** 2 + other**2))
    for axis in range(3):
        yield f"15 degrees about {'xyz'[axis]}", rotated(volume, axis, 15)[0]
    finest = min(volume.zooms)
    if finest < 1.5:
        yield "voxels of 2 mm", averaged(volume, (2.0, 2.0, 2.0))[0]
        yield "voxels of 0.8 mm", finer(volume, 0.8)
        yield "slices of 3 mm", averaged(volume, (volume.zooms[0], volume.zooms[1], 3.0))[0]


def finer(volume: Volume, zoom: float) -> Volume:
    """Interpolate onto cubes of `zoom` mm."""
    factors = np.array(volume.zooms) / zoom
    data = ndimage.zoom(volume.data.astype(np.float32), factors, order=3)
    steps = np.array(volume.shape) / np.array(data.shape)
    return Volume(data, volume.affine @ np.diag([*steps, 1.0]))


def segmented(
    case: Case, cache: Path | None, channels: Mapping[str, Array], grown: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Volumes in mL by `COLUMNS`, and the label map of CSF, grey and white matter."""
    mask, prior, _ = found(case, cache)
    if grown:
        wider = ndimage.binary_dilation(mask)
        nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
        rows = np.zeros(mask.shape, np.intp)
        rows[mask] = np.arange(np.count_nonzero(mask))
        prior = prior[:, rows[tuple(nearest[:, wider])]]
        mask = wider
    fit = fit_tissues(
        case.volume.data,
        mask,
        case.volume.zooms,
        table=tables.SIX,
        channels=channels,
        spatial_prior=prior,
    )
    labels = np.zeros(mask.shape, np.uint8)
    labels[mask] = fit.three_labels
    three = fit.fractions.sum(axis=0, dtype=np.float64)
    regions = fit.responsibilities[:, 3:5].sum(axis=0, dtype=np.float64)
    return np.concatenate([three, regions]) * case.volume.voxel_volume, labels


def main() -> None:
    """Print a line for each head and way, then the largest change of each way."""
    args = arguments(__doc__)
    worst: dict[str, NDArray[np.float64]] = {}
    print(f"{'':34}" + "".join(f"{c:>11}" for c in COLUMNS))
    with threadpool_limits(1):
        for name in args.heads or HEADS:
            path = args.data / HEADS[name]
            volume = nifti.load(path).volume
            clean = Case(name, volume, {})
            before, labels = segmented(clean, args.cache, {})
            told = "".join(f"{v:>8.1f} mL" for v in before)
            print(f"{name:16}{'clean':18}{told}", flush=True)
            mask = found(clean, args.cache)[0]
            ways = [(w, v, {}, False) for w, v in spoil(volume, mask)]
            ways.append(("mask a voxel larger", volume, {}, True))
            beside = path.with_name(path.name.replace("T1w", "FLAIR"))
            if beside.exists() and beside != path:
                flair = align_contrast(nifti.load(beside).volume, volume, mask=mask, name="FLAIR")
                ways.append(("FLAIR beside it", volume, {"FLAIR": flair}, False))
            for way, spoiled, channels, grown in ways:
                same = spoiled is volume
                case = Case(name if same else f"{name}_{way.replace(' ', '_')}", spoiled, {})
                after, others = segmented(case, args.cache, channels, grown)
                change = 100 * (after / before - 1)
                worst[way] = np.maximum(worst.get(way, 0), np.abs(change))
                told = "".join(f"{c:>+11.1f}" for c in change)
                if others.shape == labels.shape:
                    scores = (dice(others == k, labels == k) for k in (1, 2))
                    told += "   Dice of GM, WM " + ", ".join(f"{s:.3f}" for s in scores)
                print(f"{name:16}{way:22}{told}", flush=True)
    print("largest change, %")
    for way, change in worst.items():
        over = "  over the limit" if (change > LIMITS).any() else ""
        print(f"{way:38}" + "".join(f"{c:>11.1f}" for c in change) + over)


if __name__ == "__main__":
    main()
