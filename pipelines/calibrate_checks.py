"""How the checks of the brain mask answer to masks that are wrong by a known amount.

    python pipelines/calibrate_checks.py WORK [--data SHARED]

Segments whole heads of the shared data (into WORK, once), then cuts, grows and shifts each mask and
asks the mask's checks of `brainseg.qc.measure.verdict` for their verdict. Tissue intensities
stay those of
the right mask, so that the mask alone varies. The limits of those checks stand between the first
row and the others; with so few heads that is an orientation, not a validation.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainseg.config import SegmentConfig
from brainseg.core.volume import BoolArray
from brainseg.io import nifti
from brainseg.qc.measure import quality
from brainseg.qc.measure.finished import read_subject
from brainseg.qc.measure.levels import FAIL, LOOK, ORDER, PASS
from brainseg.qc.measure.subject import Subject
from brainseg.qc.measure.verdict import out_of_range
from brainseg.run import Job, plain_target, run_scan

HEADS = (
    "heads/lhdata_sub-01_T1w.nii.gz", "heads/lhdata_sub-02_T1w.nii.gz",
    "heads/lhdata_sub-03_T1w.nii.gz", "heads/chris_T1w.nii.gz", "heads/mni_head_T1w_2mm.nii.gz",
    "truth/colin27/colin27_t1.nii.gz", "ms/patient01_T1W.nii.gz",
)  # fmt: skip
KEYS = ("mask_edge", "mask_cut", "mask_bone", "mask_leak")


def variants(mask: BoolArray, zooms: tuple[float, ...]) -> Iterator[tuple[str, BoolArray]]:
    """Yield masks that are wrong in a known way, the right one first."""
    yield "as it is", mask
    depth = ndimage.distance_transform_edt(mask, sampling=zooms)
    height = ndimage.distance_transform_edt(~mask, sampling=zooms)
    for mm in (3, 6):
        yield f"cut by {mm} mm", depth > mm
    for mm in (3, 6):
        yield f"grown by {mm} mm", height <= mm
    for mm in (6, 12):
        for axis in range(3):
            yield f"shifted by {mm} mm", np.roll(mask, round(mm / zooms[axis]), axis)
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    top = mask.copy()
    top[:, :, slices[int(0.8 * len(slices))] :] = False
    yield "top fifth missing", top


def numbers(subject: Subject, mask: BoolArray) -> quality.Quality:
    """Measure a mask with the tissue intensities of the right one."""
    stats = {
        t: quality.summary(subject.samples[subject.fractions[:, k] > quality.PURE])
        for k, t in enumerate(quality.TISSUES)
    }
    wrong = dataclasses.replace(subject, mask=mask)
    wrong.__dict__["corrected"] = subject.corrected
    return quality.Quality(quality.mask_numbers(wrong, stats), {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("work", type=Path, help="folder for the segmentations")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    args = parser.parse_args()
    levels: dict[str, Counter[str]] = {}
    values: dict[str, list[quality.Quality]] = {}
    for name in HEADS:
        target = plain_target(args.data / name, args.work)
        if not target.record.exists():
            run_scan(Job(args.data / name, target), SegmentConfig(threads=2), report=False)
        subject = read_subject(target, nifti.load(args.data / name))
        for what, mask in variants(subject.mask, subject.volume.zooms):
            found = numbers(subject, mask)
            worst = max((c.level for c in out_of_range(found)), key=ORDER.__getitem__, default=PASS)
            levels.setdefault(what, Counter())[worst] += 1
            values.setdefault(what, []).append(found)
    print(f"{'mask':20} pass look fail  " + "  ".join(f"{k:>12}" for k in KEYS))
    for what, counts in levels.items():
        spans = []
        for key in KEYS:
            these = [v for q in values[what] if (v := q.get(key)) is not None]
            spans.append(f"{min(these):5.2f} - {max(these):4.2f}")
        row = " ".join(f"{counts[level]:4d}" for level in (PASS, LOOK, FAIL))
        print(f"{what:20} {row}  " + "  ".join(spans))


if __name__ == "__main__":
    main()
