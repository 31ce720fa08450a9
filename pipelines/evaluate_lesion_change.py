"""Lesions that changed between two visits, beside those that were marked by hand.

Reads the folder that ``brainseg long --flair`` wrote, and a mask of what changed. The mask may lie
in a space of its own, near the one in the middle of the visits: it is moved rigidly to where the
two FLAIRs differ most.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from brainseg.io import nifti

CHANGED = ("new", "grown", "shrunk", "vanished")
# mm around the headers' place in which the mask is looked for.
REACH_MM, STEP_MM = 12, 3


def moved(points: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move points (3, n) by a shift in mm and three angles in degrees about their middle."""
    turn = Rotation.from_euler("xyz", x[3:], degrees=True).as_matrix()
    middle = points.mean(axis=1, keepdims=True)
    return np.asarray(turn @ (points - middle) + middle + x[:3, None])


def place(
    points: NDArray[np.float64], difference: NDArray[np.float32], affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find the shift and turn that put the points where the difference is largest."""
    to_index = np.linalg.inv(affine)

    def loss(x: NDArray[np.float64]) -> float:
        at = to_index[:3, :3] @ moved(points, x) + to_index[:3, 3:]
        return -float(ndimage.map_coordinates(difference, at, order=1).mean())

    axis = np.arange(-REACH_MM, REACH_MM + 1, STEP_MM, dtype=float)
    shifts = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1).T
    starts = [np.array([*shift, 0.0, 0.0, 0.0]) for shift in shifts]
    best = min(starts, key=loss)
    return np.asarray(optimize.minimize(loss, best, method="Powell", options={"xtol": 0.2}).x)


def main() -> None:
    """Print one JSON line a marked region, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, help="folder of `brainseg long` with two visits")
    parser.add_argument("marked", type=Path, help="mask of what changed")
    parser.add_argument("--least-ml", type=float, default=0.1, help="of regions counted as large")
    options = parser.parse_args()
    table = next(options.result.glob("*_lesions.tsv"))
    prefix = table.name.removesuffix("_lesions.tsv")
    rows = list(csv.DictReader(table.read_text().splitlines(), delimiter="\t"))
    last = rows[-1]["session"]
    first = next(row["session"] for row in rows if row["session"] != last)
    found = {int(r["lesion"]): r for r in rows if r["session"] == last}

    def read(ending: str) -> nifti.Scan:
        return nifti.load(options.result / f"{prefix}_{ending}.nii.gz")

    here = "space-midspace"
    flairs = [read(f"ses-{s}_{here}_desc-preproc_FLAIR").volume for s in (first, last)]
    numbers = read(f"{here}_desc-lesions_dseg").volume.data.astype(int)
    inner = ndimage.binary_erosion(read(f"{here}_desc-brain_mask").volume.data > 0, iterations=3)
    affine, zooms = flairs[0].affine, flairs[0].zooms
    blurred = ndimage.gaussian_filter(
        np.abs(flairs[1].data - flairs[0].data), [0.8 / zoom for zoom in zooms]
    )
    mask = nifti.load(options.marked).volume
    points = mask.affine[:3, :3] @ np.argwhere(mask.data > 0).T + mask.affine[:3, 3:]
    x = place(points, np.where(inner, blurred, np.float32(0)), affine)
    print(json.dumps({"shift_mm": x[:3].round(1).tolist(), "turn_deg": x[3:].round(1).tolist()}))
    to_index = np.linalg.inv(affine)
    index = np.rint(to_index[:3, :3] @ moved(points, x) + to_index[:3, 3:]).astype(int)
    inside = ((index >= 0) & (index < np.array(numbers.shape)[:, None])).all(axis=0)
    true = np.zeros(numbers.shape, bool)
    true[tuple(index[:, inside])] = True
    true = ndimage.binary_closing(true, np.ones((3, 3, 2)))
    report(true, numbers, found, flairs[0].voxel_volume, options.least_ml)


def report(
    true: NDArray[np.bool_],
    numbers: NDArray[np.int_],
    found: dict[int, dict[str, str]],
    voxel: float,
    least_ml: float,
) -> None:
    """Print which marked regions hold a lesion that changed, and which changes are not marked."""
    regions, count = ndimage.label(true, np.ones((3, 3, 3)))
    hits, large, large_hits = 0, 0, 0
    for k in range(1, count + 1):
        near = ndimage.binary_dilation(regions == k)
        states = {int(n): found[n]["state"] for n in np.unique(numbers[near]) if n}
        ml = float((regions == k).sum() * voxel)
        hit = any(state in CHANGED for state in states.values())
        hits += hit
        large += ml >= least_ml
        large_hits += hit and ml >= least_ml
        print(json.dumps({"region": k, "ml": round(ml, 3), "lesions": states}))
    near = ndimage.binary_dilation(true)
    changed = [n for n, row in found.items() if row["state"] in CHANGED]
    stray = [n for n in changed if not near[numbers == n].any()]
    print(
        json.dumps(
            {
                "regions": count, "found": hits, "large": large, "large_found": large_hits,
                "changed": len(changed), "changed_not_marked": len(stray),
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
