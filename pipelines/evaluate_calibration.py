"""Whether a share of 0.7 white matter means 0.7: reliability of the maps, and of summed volumes.

    python pipelines/evaluate_calibration.py --data ../shared/data

Masks are given. By tissue and tenths of the share that a voxel was given: the mean of these shares,
and the mean of the truth's in the same voxels; then the expected difference of the two over all
voxels, and by how many per cent the summed volume is off. Truths: manual labels of four OASIS
adults (white matter only: they call sulcal CSF grey), BrainWeb's fuzzy tissues at 2 mm, and a scan
drawn from BrainWeb's crisp labels with 3 % noise and a bias field of 20 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from evaluate_accuracy import Case, brainweb, oasis, phantom
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainseg.io import nifti

TISSUES = ("CSF", "GM", "WM")
BINS = 10


def cases(data: Path) -> Iterator[tuple[Case, NDArray[np.float64], tuple[str, ...]]]:
    """Yield scans, the true shares inside their masks (n_mask, 3), and the tissues to be judged."""
    for case in oasis(data):
        yield case, crisp(case), ("WM",)
    for case in brainweb(data):
        folder = data / "truth" / "brainweb_2mm"
        maps = [nifti.load(folder / f"{t.lower()}.nii.gz").volume.data for t in TISSUES]
        fuzzy = np.stack([m[case.mask] for m in maps], axis=1).astype(np.float64)
        yield case, fuzzy / np.maximum(fuzzy.sum(axis=1, keepdims=True), 1e-9), TISSUES
    case = phantom(data, noise=3, bias=20, contrasts=("T1w",))
    yield case, crisp(case), TISSUES


def crisp(case: Case) -> NDArray[np.float64]:
    """Return 1 for the labelled tissue of each voxel, 0 for the others."""
    return (case.truth[case.mask][:, None] == np.array([1, 2, 3])).astype(np.float64)


def main() -> None:
    """Print a line for each scan and tissue."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data")
    args = parser.parse_args()
    with threadpool_limits(1):
        for case, truth, judged in cases(args.data):
            fractions = case.fit(table="three").fractions
            for k, tissue in enumerate(TISSUES):
                if tissue not in judged:
                    continue
                share, true = fractions[:, k].astype(np.float64), truth[:, k]
                which = np.minimum((share * BINS).astype(int), BINS - 1)
                count = np.maximum(np.bincount(which, minlength=BINS), 1)
                said, found = (np.bincount(which, v, BINS) / count for v in (share, true))
                error = float(np.abs(said - found) @ count / count.sum())
                off = 100 * (share.sum() / true.sum() - 1)
                told = "  ".join(f"{s:.2f}:{f:.2f}" for s, f in zip(said, found, strict=True))
                print(f"{case.name:30}{tissue:5}{told}   error {error:.3f}, volume {off:+.1f} %")


if __name__ == "__main__":
    main()
