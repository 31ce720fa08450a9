"""What quality control says of scans that were spoiled in ways a wrong result comes from.

    python pipelines/attack_images.py WORK [--data SHARED] [--only HOLES ...] [--clean]

Each attack of `ATTACKS` spoils the scans of three people. Every result that is wrong must be told
apart: its verdict may not be Pass. The first rows change no label, so their verdict must be that of
the clean scan. ``--clean`` lists the verdicts of all clean heads of the shared data instead.
Segments into WORK, once; what is there is judged again. Exits 1 when a spoiled scan passes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from brainseg.config import SegmentConfig
from brainseg.core.metrics import dice
from brainseg.core.volume import BoolArray, FloatArray, Volume
from brainseg.errors import BrainsegError
from brainseg.io import nifti
from brainseg.qc.measure.air import surroundings
from brainseg.qc.measure.finished import read_subject
from brainseg.qc.measure.levels import PASS
from brainseg.qc.measure.quality import measure
from brainseg.qc.measure.subject import Subject
from brainseg.qc.measure.summary import warnings_of
from brainseg.qc.measure.verdict import Verdict, judge
from brainseg.run import Job, plain_target, run_scan

PEOPLE = ("anatomy/nc01_T1w.nii.gz", "heads/lhdata_sub-01_T1w.nii.gz", "heads/chris_T1w.nii.gz")
CLEAN = (
    "heads/*_T1w*.nii.gz", "anatomy/*_T1w.*", "truth/colin27/colin27_t1.nii.gz",
    "truth/oasis/*_SS.nii.gz", "stripped/*.nii.gz", "ms/*_T1W.nii.gz",
    "truth/brainweb_2mm/t1.nii.gz",
)  # fmt: skip
Spoil = Callable[[Volume, BoolArray], Volume]


def _scaled(volume: Volume, factors: tuple[float, ...]) -> Volume:
    return Volume(volume.data, volume.affine @ np.diag([*factors, 1.0]))


def _cut(mask: BoolArray, axis: int, share: float) -> int:
    """Return the plane below which so much of the mask's extent lies."""
    planes = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    return int(planes[0] + share * (planes[-1] - planes[0]))


def offset(volume: Volume, mask: BoolArray) -> Volume:
    """Add 10,000 to all intensities."""
    return volume.with_data(volume.data + 10_000)


def scale(volume: Volume, mask: BoolArray) -> Volume:
    """Multiply all intensities by 37."""
    return volume.with_data(volume.data * 37)


def holes(volume: Volume, mask: BoolArray) -> Volume:
    """Set one voxel in ten of the brain to zero."""
    lost = mask & (np.random.default_rng(0).random(mask.shape) < 0.1)
    return volume.with_data(np.where(lost, 0, volume.data))


def planes(volume: Volume, mask: BoolArray) -> Volume:
    """Set every twentieth axial slice to zero."""
    data = volume.data.copy()
    data[:, :, ::20] = 0
    return volume.with_data(data)


def swapped(volume: Volume, mask: BoolArray) -> Volume:
    """Swap two blocks of axial slices, each a tenth of the brain's height."""
    data, n = volume.data.copy(), max(2, int(0.1 * mask.any(axis=(0, 1)).sum()))
    low, high = _cut(mask, 2, 0.4), _cut(mask, 2, 0.7)
    data[:, :, low : low + n] = volume.data[:, :, high : high + n]
    data[:, :, high : high + n] = volume.data[:, :, low : low + n]
    return volume.with_data(data)


def interleaved(volume: Volume, mask: BoolArray) -> Volume:
    """Shift every other sagittal slice by 4 mm."""
    data = volume.data.copy()
    data[::2] = np.roll(data[::2], round(4 / volume.zooms[1]), axis=1)
    return volume.with_data(data)


def _beside(volume: Volume, mask: BoolArray, axis: int, mm: float) -> Volume:
    moved = np.roll(mask, round(mm / volume.zooms[axis]), axis=axis)
    return volume.with_data(np.where(moved, volume.data, 0))


def beside(volume: Volume, mask: BoolArray) -> Volume:
    """Strip the scan by a mask that lies 8 mm in front of its brain."""
    return _beside(volume, mask, 1, 8)


def behind(volume: Volume, mask: BoolArray) -> Volume:
    """Strip the scan by a mask that lies 8 mm behind its brain."""
    return _beside(volume, mask, 1, -8)


def leftwards(volume: Volume, mask: BoolArray) -> Volume:
    """Strip the scan by a mask that lies 8 mm to the left of its brain."""
    return _beside(volume, mask, 0, -8)


def above(volume: Volume, mask: BoolArray) -> Volume:
    """Strip the scan by a mask that lies 8 mm above its brain."""
    return _beside(volume, mask, 2, 8)


def gamma(volume: Volume, mask: BoolArray) -> Volume:
    """Raise intensities to the power of 0.3."""
    low = volume.data.min()
    return volume.with_data((volume.data - low) ** 0.3)


def vertex(volume: Volume, mask: BoolArray) -> Volume:
    """Cut off the upper fifth of the brain and pad with zeros."""
    data = volume.data.copy()
    data[:, :, _cut(mask, 2, 0.8) :] = 0
    return volume.with_data(data)


def missing(volume: Volume, mask: BoolArray) -> Volume:
    """Leave out 20 mm of axial slices in the middle of the brain."""
    low = _cut(mask, 2, 0.6)
    gone = range(low, low + round(20 / volume.zooms[2]))
    return Volume(np.delete(volume.data, gone, axis=2), volume.affine)


def axes_swapped(volume: Volume, mask: BoolArray) -> Volume:
    """Exchange front-back and up-down."""
    return Volume(volume.data.swapaxes(1, 2), volume.affine[:, [0, 2, 1, 3]][[0, 2, 1, 3]])


def sides_swapped(volume: Volume, mask: BoolArray) -> Volume:
    """Exchange left-right and front-back."""
    return Volume(volume.data.swapaxes(0, 1), volume.affine[:, [1, 0, 2, 3]][[1, 0, 2, 3]])


def upside_down(volume: Volume, mask: BoolArray) -> Volume:
    """Mirror up and down."""
    return volume.with_data(volume.data[:, :, ::-1])


def back_to_front(volume: Volume, mask: BoolArray) -> Volume:
    """Mirror front and back."""
    return volume.with_data(volume.data[:, ::-1])


def squeezed(volume: Volume, mask: BoolArray) -> Volume:
    """Give voxel sizes 30 % too small in one direction."""
    return _scaled(volume, (1.0, 1.0, 0.7))


def blurred(volume: Volume, mask: BoolArray) -> Volume:
    """Blur to 8 mm full width at half maximum."""
    widths = [8 / 2.355 / z for z in volume.zooms]
    return volume.with_data(ndimage.gaussian_filter(volume.data, widths))


def coarse(volume: Volume, mask: BoolArray) -> Volume:
    """Average into voxels of 8 mm."""
    factors = [z / 8.0 for z in volume.zooms]
    sharp = ndimage.gaussian_filter(volume.data, [0.4 / f for f in factors])
    data = ndimage.zoom(sharp, factors, order=1)
    grow = np.divide(volume.shape, data.shape)
    return Volume(data, volume.affine @ np.diag([*grow, 1.0]))


def half_dark(volume: Volume, mask: BoolArray) -> Volume:
    """Darken the left half by 40 %, as a broken coil element does."""
    data = volume.data.copy()
    data[: _cut(mask, 0, 0.5)] *= 0.6
    return volume.with_data(data)


HARMLESS: dict[str, Spoil] = {"offset": offset, "scale": scale}
ATTACKS: dict[str, Spoil] = {
    f.__name__: f
    for f in (
        holes, planes, swapped, interleaved, beside, behind, leftwards,
        above, gamma, vertex, missing, axes_swapped,
        sides_swapped, upside_down, back_to_front, squeezed, blurred, coarse, half_dark,
    )
}  # fmt: skip


def segmented(path: Path, out: Path) -> Subject:
    """Segment a scan where that was not done yet, and read the result back."""
    job = Job(path, plain_target(path, out))
    if not job.target.record.exists():
        run_scan(job, SegmentConfig(threads=1), report=False)
    return read_subject(job.target, nifti.load(path))


def verdict_of(subject: Subject) -> Verdict:
    """Judge a segmentation as its report does."""
    return judge(subject, measure(subject, surroundings(subject)), warnings_of(subject))


def dices(subject: Subject, clean: Subject) -> str:
    """Dice of CSF, GM and WM with the clean scan's, where both lie on one grid."""
    if subject.volume.shape != clean.volume.shape:
        return "   -    -    -"
    labels = [_three(s) for s in (subject, clean)]
    return " ".join(f"{dice(labels[0] == k, labels[1] == k):4.2f}" for k in (1, 2, 3))


def _three(subject: Subject) -> FloatArray:
    out: FloatArray = np.zeros(subject.mask.shape, np.float32)
    out[subject.mask] = subject.fractions.argmax(axis=1) + 1
    return out


def spoiled(
    work: Path, data: Path, only: list[str]
) -> Iterator[tuple[str, str, str, Verdict | str]]:
    """Yield attack, person, Dice, and the verdict or the reason of a refusal."""
    everything = {"clean": None} | HARMLESS | ATTACKS
    for name, spoil in everything.items():
        if only and name not in only:
            continue
        for person in PEOPLE:
            who = Path(person).name.split("_T1w")[0]
            clean = segmented(data / person, work / "clean")
            subject = clean
            if spoil is not None:
                path = work / name / f"{who}_T1w.nii"
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    made = spoil(clean.volume, clean.mask)
                    image = nib.Nifti1Image(made.data.astype(np.float32), made.affine)
                    nib.save(image, path)
                try:
                    subject = segmented(path, work / name)
                except BrainsegError as error:
                    yield name, who, "   -    -    -", f"refused: {error}"
                    continue
            yield name, who, dices(subject, clean), verdict_of(subject)


def main() -> int:
    """Attack, print, and say whether all held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("work", type=Path, help="folder for the scans and their segmentations")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="+", default=[], metavar="ATTACK")
    parser.add_argument("--clean", action="store_true", help="judge all clean heads instead")
    args = parser.parse_args()
    if args.clean:
        for pattern in CLEAN:
            for path in sorted(args.data.glob(pattern)):
                verdict = verdict_of(segmented(path, args.work / "clean"))
                tell("clean", path.name.split(".")[0], "", verdict)
        return 0
    passed = []
    levels: dict[str, str] = {}
    for name, who, agreement, verdict in spoiled(args.work, args.data, args.only):
        tell(name, who, agreement, verdict)
        level = verdict if isinstance(verdict, str) else verdict.level
        if name == "clean":
            levels[who] = level
        if (name in ATTACKS and level == PASS) or (
            name in HARMLESS and level != levels.get(who, level)
        ):
            passed.append(f"{name} {who}")
    print(f"\nnot told: {', '.join(passed) or 'none'}")
    return int(bool(passed))


def tell(name: str, who: str, agreement: str, verdict: Verdict | str) -> None:
    """Print one row."""
    if isinstance(verdict, str):
        print(f"{name:14} {who:14} {agreement:14} {verdict[:110]}", flush=True)
        return
    reasons = "; ".join(c.reason for c in verdict.checks if c.level != PASS)
    print(f"{name:14} {who:14} {agreement:14} {verdict.word:5} {reasons}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
