"""How well the head network tells a wrongly placed atlas from a right one.

    python pipelines/evaluate_atlas_check.py --data ../shared/data

For each T1w scan of the shared data: the agreement of the placed atlas with the network's map, as
`brainseg.anatomy.prior` takes it, and the same with the atlas moved by 20 mm along each axis. A run
warns below `brainseg.anatomy.map_checks.LEAST_REGION_DICE`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainseg.anatomy import map_checks
from brainseg.anatomy.brain import extract_brain
from brainseg.anatomy.head import map_head, regions
from brainseg.atlas.placing import place_atlas
from brainseg.io import nifti

SCANS = (
    "heads/*.nii.gz",
    "truth/colin27/colin27_t1.nii.gz",
    "anatomy/*T1w*",
    "stripped/*.nii.gz",
    "truth/oasis/*_SS*",
    "ms/*T1W.nii.gz",
    "visits/ms*T1W*",
    "visits/oasis*_SS*",
    "dicom/t1w_head",
    "truth/brainweb_2mm/*t1*",
)
SHIFT_MM = 20.0


def moved(
    atlas: NDArray[np.float32], mask: NDArray[np.bool_], steps: int, axis: int
) -> NDArray[np.float32]:
    """Return maps in a mask, shifted by voxels along an axis; CSF where nothing is left."""
    whole = np.zeros((len(atlas), *mask.shape), np.float32)
    whole[:, mask] = atlas
    out = np.roll(whole, steps, axis=1 + axis)[:, mask]
    out[0] += out.sum(axis=0) == 0
    return np.asarray(out / out.sum(axis=0), np.float32)


def main() -> None:
    """Print a line for each scan, then the counts."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=root.parent / "shared/data")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    least, found = map_checks.LEAST_REGION_DICE, []
    with threadpool_limits(1):
        for path in (p for pattern in SCANS for p in sorted(args.data.glob(pattern))):
            volume = nifti.load(path).volume
            brain = extract_brain(volume, threads=args.threads)
            atlas = place_atlas(volume, brain.mask, threads=args.threads)
            if atlas is None:
                print(f"{path.name:32} the atlas was not placed")
                continue
            seen = map_head(volume, threads=args.threads, voxel=map_checks.VOXEL, mirrored=False)
            ours = regions(seen, volume, brain.mask)
            shifts = [(a, s * round(SHIFT_MM / volume.zooms[a])) for a in range(3) for s in (-1, 1)]
            values = [map_checks.agreement(ours, atlas)] + [
                map_checks.agreement(ours, moved(atlas, brain.mask, n, a)) for a, n in shifts
            ]
            found.append(values)
            print(
                f"{path.name:32} placed {values[0]:.3f}, shifted at most {max(values[1:]):.3f}",
                *map_checks.doubts(map_checks.measure(seen)),
                flush=True,
            )
    table = np.array(found)
    print(f"placed: {(table[:, 0] < least).sum()} of {len(table)} below {least}")
    print(
        f"shifted by {SHIFT_MM:g} mm: {(table[:, 1:] < least).sum()} of {table[:, 1:].size} below"
    )


if __name__ == "__main__":
    main()
