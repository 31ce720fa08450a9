"""Dice of lesion candidates with references, and what a FLAIR beside the T1w does to the tissues.

    python pipelines/evaluate_lesions.py --data ../shared/data [--heads nc01 nc02] [--cache DIR]

The six older adults of ``anatomy/`` with a FLAIR have automatic lesion masks on its grid; the
registration of the FLAIR carries these onto the T1w scan. For each head: mL of the reference and of
the candidates, Dice, how much of the reference is called grey matter without and with the FLAIR,
and by how much CSF, grey and white matter change when the FLAIR is added.
"""

from __future__ import annotations

import argparse

import numpy as np
from evaluate_network import Case, cases
from evaluate_regions import arguments, found
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits

from brainseg.alignment.contrasts import align_contrast, register_contrast
from brainseg.core.masking import scatter
from brainseg.core.metrics import dice
from brainseg.core.volume import BoolArray, Volume
from brainseg.io import nifti
from brainseg.tissues import tables
from brainseg.tissues.fit import TissueFit, fit_tissues


def carried(labels: Volume, onto: Volume, place: NDArray[np.float64]) -> BoolArray:
    """Bring a mask onto another grid; `place` maps mm along the axes of `onto` to its own."""
    frame = np.diag([*(1 / np.array(labels.zooms)), 1]) @ place @ np.diag([*onto.zooms, 1])
    there: BoolArray = (
        ndimage.affine_transform(
            (labels.data > 0).astype(np.float32), frame[:3, :3], frame[:3, 3], onto.shape, order=1
        )
        > 0.5
    )
    return there


def grey_share(fit: TissueFit, lesions: BoolArray, mask: BoolArray) -> float:
    """Share of the lesions inside the mask that is called grey matter."""
    return float(fit.fractions[lesions[mask], 1].mean()) if (lesions & mask).any() else 0.0


def main() -> None:
    """Print a line for each head, then median and least."""
    args = arguments(__doc__)
    scores = []
    with threadpool_limits(1):
        for case in cases(args.data, args.heads):
            path = args.data / "anatomy" / f"{case.name}_lesions.nii.gz"
            if path.exists():
                scores.append(judged(case, args))
    print(f"Dice: median {np.median(scores):.3f}, least {min(scores):.3f}")


def judged(case: Case, args: argparse.Namespace) -> float:
    """Fit one head without and with its FLAIR, and print the line."""
    mask, prior, _ = found(case, args.cache)
    folder = args.data / "anatomy"
    flair = nifti.load(folder / f"{case.name}_FLAIR.nii.gz").volume
    place = register_contrast(flair, case.volume, mask=mask, name="FLAIR")
    labels = nifti.load_labels(folder / f"{case.name}_lesions.nii.gz")[0]
    truth = carried(labels, case.volume, place)
    channel = align_contrast(flair, case.volume, mask=mask, name="FLAIR")
    scan = case.volume.data, mask, case.volume.zooms
    alone = fit_tissues(*scan, table=tables.SIX, spatial_prior=prior)
    both = fit_tissues(*scan, table=tables.SIX, spatial_prior=prior, channels={"FLAIR": channel})
    assert both.lesions is not None
    ours = scatter(both.lesions, mask) > 0.5
    score = dice(ours, truth)
    unit = case.volume.voxel_volume
    change = 100 * (both.fractions.sum(axis=0) / alone.fractions.sum(axis=0) - 1)
    told = ", ".join(
        f"{t.abbreviation} {c:+.1f}" for t, c in zip(tables.THREE.tissues, change, strict=True)
    )
    print(
        f"{case.name}: reference {truth.sum() * unit:5.1f} mL, found {ours.sum() * unit:5.1f} mL, "
        f"Dice {score:.3f}; grey in it {grey_share(alone, truth, mask):.0%} without FLAIR, "
        f"{grey_share(both, truth, mask):.0%} with; FLAIR changes in %: {told}",
        flush=True,
    )
    return score


if __name__ == "__main__":
    main()
