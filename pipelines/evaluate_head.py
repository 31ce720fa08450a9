"""Measure the six tissues of the whole head.

    python pipelines/evaluate_head.py --data ../shared/data --what colin maps retest heads default

*colin*: Dice with BrainWeb's labels of colin27, from the T1w alone. BrainWeb calls marrow soft
tissue and air in sinuses bone; so bone is scored a second time with what lies between the tables,
and a third time of that only what lies higher than `VAULT_MM`, where there are no sinuses.
*maps*: Dice on label maps that the network never saw, drawn as T1w (`--t2`: with a T2w beside) with
3 % noise and a bias field of 40 %. *retest*: by how many per cent bone and the intracranial volume
of two heads (`RETEST`) change when the scan is turned by 15 degrees, resampled to 2 mm, given 5 %
noise or a bias field of 40 %. *heads*: volumes of the real heads, how closed their skulls are, and
how many voxels the clean-up moved. *default*: grey and white matter, seconds and memory beside
those of the default route. Every line has the seconds of the step.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.batch.memory import IDLE_BYTES, peak_mb, reset_peak
from brainseg.config import SegmentConfig
from brainseg.core.metrics import dice
from brainseg.core.volume import Volume
from brainseg.evaluation.phantom import CONTRASTS, TISSUES, WHITE, bias_field, rician
from brainseg.io import nifti
from brainseg.pipeline import SegmentedVolume, segment_volume
from brainseg.qc.measure.skull import measure_skull
from brainseg.tissues.tables import HEAD

HELD_OUT = (5, 9, 14, 18)
"""As in `synthesis.py`."""
BRAINWEB = {1: (2, 8), 2: (3,), 3: (1,), 4: (7,), 5: (4, 5, 6, 9), 6: (0,)}
BONE, SOFT, AIR = 4, 5, 6
VAULT_MM = 0.0
"""Height in world mm from which colin27's skull is its vault: that of the anterior commissure."""
RETEST = ("heads/lhdata_sub-01_T1w.nii.gz", "heads/chris_T1w.nii.gz")
# Codes of the label maps by tissue of `brainseg.evaluation.phantom.TISSUES`, then the others with
# the brightness of T1w and T2w.
CODES = {
    "csf": (4, 5, 14, 15, 24, 43, 44, 72),
    "cortex": (3, 17, 18, 42, 53, 54),
    "deep": (10, 11, 12, 13, 26, 49, 50, 51, 52, 58),
    "white": (2, 25, 28, 30, 41, 57, 60, 62, 85, 136, 137, 163, 164),
    "stem": (16,),
    "cerebellar_grey": (8, 47),
    "cerebellar_white": (7, 46),
    "bone": (515,),
    "marrow": (516,),
    "muscle": (507, 508),
}
OTHERS = {506: (0.22, 0.95), 509: (0.5, 0.8), 511: (0.7, 0.4), 512: (0.8, 0.4), 530: (0.9, 0.4),
          502: (0.3, 0.1), 514: (0.3, 0.1)}  # fmt: skip
GREY, PALE = ("cortex", "deep", "cerebellar_grey"), ("white", "stem", "cerebellar_white")


@dataclass(frozen=True, eq=False)
class Case:
    """A scan with its contrasts and the tissue of every voxel."""

    name: str
    scan: Volume
    contrasts: Mapping[str, Volume]
    truth: NDArray[np.uint8]


def colin(data: Path) -> Case:
    """Colin27 with BrainWeb's labels."""
    folder = data / "truth" / "colin27"
    scan = nifti.load(folder / "colin27_t1.nii.gz")
    codes = nifti.load_labels(folder / "brainweb_crisp10.nii.gz", reference=scan)[0].data
    truth = np.zeros(codes.shape, np.uint8)
    for label, members in BRAINWEB.items():
        truth[np.isin(codes, members)] = label
    return Case("colin27", scan.volume, {}, truth)


def drawn(data: Path, number: int, *, t2: bool) -> Case:
    """Draw a held-out label map."""
    codes = nifti.load(data / "labelmaps" / f"training_seg_{number:02d}.nii.gz").volume
    labels = codes.data.astype(int)
    members = {label: np.isin(labels, c) for label, c in CODES.items()}
    truth = np.full(labels.shape, SOFT, np.uint8)
    truth[labels == 0] = AIR
    truth[members["bone"] | members["marrow"]] = BONE
    for label, names in ((1, GREY), (2, PALE), (3, ("csf",))):
        truth[np.logical_or.reduce([members[n] for n in names])] = label
    scans = {}
    for k, contrast in enumerate(("T1w", "T2w") if t2 else ("T1w",)):
        rng = np.random.default_rng([number, k])
        level = dict(zip(TISSUES, CONTRASTS[contrast], strict=True))
        clean = np.zeros(labels.shape, np.float32)
        for name, at in members.items():
            clean[at] = level[name]
        for code, values in OTHERS.items():
            clean[labels == code] = values[k]
        clean[_fat(labels, number)] = level["fat"]
        clean = ndimage.gaussian_filter(clean * np.float32(WHITE), 0.5)
        gain = bias_field(rng, clean.shape, 40.0)
        scans[contrast] = codes.with_data(rician(clean * gain, 0.03 * WHITE, rng))
    return Case(f"map {number}", scans.pop("T1w"), scans, truth)


def _fat(labels: NDArray[np.int_], number: int) -> NDArray[np.bool_]:
    """Fat of what the maps call other tissue: below the skin, and in patches between muscles."""
    field = np.random.default_rng([number, 9]).standard_normal(labels.shape, np.float32)
    field = ndimage.gaussian_filter(field, 4.0)
    depth = ndimage.distance_transform_edt(ndimage.binary_fill_holes(labels > 0))
    below = (depth > 2.5) & (depth < 7)
    out: NDArray[np.bool_] = (labels == 507) & ((field > 0.6 * field.std()) | below)
    return out


def between_tables(truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give bone what soft tissue lies within it: closed by a ball of 4 mm, on a grid of 1 mm."""
    bone = truth == BONE
    wide = ndimage.distance_transform_edt(~bone) <= 4
    closed = ndimage.distance_transform_edt(wide) > 4
    out = truth.copy()
    out[closed & (truth == SOFT)] = BONE
    return out


def spoiled(scan: Volume) -> Iterator[tuple[str, Volume]]:
    """Yield a scan in other states."""
    rng = np.random.default_rng(0)
    data = scan.data
    angle = np.deg2rad(15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.eye(3)
    matrix[1:, 1:] = turn
    middle = (np.array(data.shape) - 1) / 2
    shift = middle - matrix @ middle
    yield "15 degrees", scan.with_data(ndimage.affine_transform(data, matrix, shift, order=1))
    affine = scan.affine @ np.diag([2 / z for z in scan.zooms] + [1])
    steps = [z / 2 for z in scan.zooms]
    coarse = ndimage.zoom(ndimage.uniform_filter(data, 2), steps, order=1)
    yield "2 mm", Volume(coarse.astype(np.float32), affine)
    sigma = 0.05 * float(np.percentile(data, 99))
    yield "5 % noise", scan.with_data(rician(data, sigma, rng))
    yield "40 % bias", scan.with_data(data * bias_field(rng, data.shape, 40.0))


def segment(case: Case, threads: int) -> SegmentedVolume:
    """Segment the whole head."""
    config = SegmentConfig(tissues="head", threads=threads)
    return segment_volume(case.scan, config, contrasts=case.contrasts)


def bone_and_inside(result: SegmentedVolume) -> tuple[float, float]:
    """Return the volumes of bone and of what lies inside the skull in mL."""
    assert result.head is not None
    unit = result.volume.voxel_volume
    bone = float(result.probability(BONE - 1).sum(dtype=np.float64)) * unit
    return bone, int(np.count_nonzero(result.head.intracranial)) * unit


def told(result: SegmentedVolume) -> str:
    """Say what was measured without a truth."""
    assert result.head is not None
    bone, inside = bone_and_inside(result)
    skull = measure_skull(result.labels, result.volume.zooms)
    moved = ", ".join(f"{n} {reason}" for reason, n in result.head.moved.items())
    own = result.seconds["Whole head"]
    return (
        f"bone {bone:.0f} mL, intracranial {inside:.0f} mL, holes {skull.open_cm2:.1f} cm2, "
        f"thickness {skull.median_mm or 0:.1f} mm; moved {moved}; "
        f"{own:.0f} of {sum(result.seconds.values()):.0f} s"
    )


def scores(labels: NDArray[np.uint8], case: Case) -> dict[str, float]:
    """Return the Dice of every tissue; of colin27 also that of bone with what lies within it."""
    found = {t.abbreviation: dice(labels == t.index, case.truth == t.index) for t in HEAD.tissues}
    if case.name == "colin27":
        whole = between_tables(case.truth)
        found["B with marrow"] = dice(labels == BONE, whole == BONE)
        found["ST without marrow"] = dice(labels == SOFT, whole == SOFT)
    return found


def score(case: Case, threads: int) -> None:
    """Print the Dice of every tissue."""
    result = segment(case, threads)
    values = scores(result.labels, case)
    print(f"{case.name:10}" + ", ".join(f"{k} {v:.3f}" for k, v in values.items()), flush=True)
    if case.name == "colin27":
        high = np.s_[..., round(VAULT_MM - case.scan.affine[2, 3]) :]
        vault = dice(result.labels[high] == BONE, between_tables(case.truth)[high] == BONE)
        print(f"{'':10}with marrow, above {VAULT_MM:g} mm: B {vault:.3f}")
    print(f"{'':10}{told(result)}", flush=True)


def retest(path: Path, threads: int) -> None:
    """Print how far bone and the intracranial volume of a scan move in other states of it."""
    scan = nifti.load(path).volume
    before = np.zeros(2)
    for name, volume in [("as it is", scan), *spoiled(scan)]:
        case = Case(name, volume, {}, np.zeros(0, np.uint8))
        values = np.array(bone_and_inside(segment(case, threads)))
        if not before.any():
            before = values
        bone, inside = 100 * (values / before - 1)
        print(
            f"{path.name} {name:12} bone {values[0]:.0f} mL ({bone:+.1f} %), "
            f"intracranial {values[1]:.0f} mL ({inside:+.1f} %)",
            flush=True,
        )


def beside_default(path: Path, threads: int) -> None:
    """Print volumes, seconds and memory of the whole head and of the default route."""
    scan = nifti.load(path).volume
    for tissues in ("six", "head"):
        reset_peak()
        result = segment_volume(scan, SegmentConfig(tissues=tissues, threads=threads))
        volumes = ", ".join(f"{k} {ml:.1f} mL" for k, ml in result.volumes_ml.items())
        seconds = sum(result.seconds.values())
        per_voxel = (peak_mb() * 2**20 - IDLE_BYTES) / scan.data.size
        print(
            f"{path.name} {tissues}: {volumes}; {seconds:.0f} s, {peak_mb():.0f} MiB, "
            f"{per_voxel:.0f} bytes a voxel",
            flush=True,
        )
        del result


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data")
    parser.add_argument(
        "--what", nargs="+", default=["colin", "maps", "retest", "heads", "default"]
    )
    parser.add_argument("--t2", action="store_true", help="a T2w beside the drawn maps")
    parser.add_argument("--maps", nargs="+", type=int, default=HELD_OUT)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if "colin" in args.what:
        score(colin(args.data), args.threads)
    if "maps" in args.what:
        for number in args.maps:
            score(drawn(args.data, number, t2=args.t2), args.threads)
    if "retest" in args.what:
        for name in RETEST:
            retest(args.data / name, args.threads)
    if "heads" in args.what:
        anatomy = (args.data / "anatomy").glob("*_T1w.*")
        for path in [*sorted((args.data / "heads").glob("*.nii.gz")), *sorted(anatomy)]:
            case = Case(path.name, nifti.load(path).volume, {}, np.zeros(0, np.uint8))
            print(f"{path.name}: {told(segment(case, args.threads))}", flush=True)
    if "default" in args.what:
        beside_default(args.data / RETEST[0], args.threads)


if __name__ == "__main__":
    main()
