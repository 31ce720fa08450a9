"""How the checks of a result answer to good masks and tissues, and to those that are wrong.

    python pipelines/calibrate_checks.py WORK [--data SHARED] [--values]

Segments the heads of the shared data at their own voxel size and at 2 mm (T1w scans whole, others
as far as the mask), takes their own and their reference masks for good ones, spoils them as
`spoiled_masks.py` lists, and asks the checks of `brainseg.qc.measure.verdict` that rest on the
head network's map for their verdict. Prints counts by kind, voxel size, contrast and set. The
limits were set on the heads that are not marked as held out. Everything slow is kept in WORK, so
that new limits are judged within seconds; delete WORK after a change of the network, and its JSON
files after a change of what is measured.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from spoiled_masks import find_frame, other_persons, spoil
from threadpoolctl import threadpool_limits

from brainseg.anatomy import map_checks, result_checks, views
from brainseg.anatomy.brain import extract_brain
from brainseg.anatomy.head import HeadMap, regions
from brainseg.anatomy.views import Grid
from brainseg.atlas.placing import place_atlas
from brainseg.config import SegmentConfig
from brainseg.core.volume import BoolArray, Volume
from brainseg.io import nifti
from brainseg.pipeline import segment_volume
from brainseg.qc.measure.levels import FAIL, LOOK, ORDER, PASS
from brainseg.qc.measure.quality import Quality
from brainseg.qc.measure.verdict import out_of_range

HELD_OUT = (
    "chris",
    "colin",
    "lh03",
    "oasis1002",
    "oasis1003",
    "strip02",
    "dicom",
    "fs001",
    "crisp",
)
"""Heads on which no limit was set."""
TWO_MM = 2.0
CLOSED_MM = 8.0
"""Label maps without the CSF in the sulci are closed by a ball of this radius."""
MOVED_MM = 20.0
CRISP = {  # intensities of BrainWeb's ten classes in each contrast, white matter near 1 on T1w
    "T1w": (0, 0.25, 0.6, 0.85, 1.0, 0.55, 0.5, 0.05, 0.7, 0.3),
    "T2w": (0, 1.0, 0.6, 0.45, 0.7, 0.35, 0.5, 0.05, 0.6, 0.4),
    "FLAIR": (0, 0.12, 0.7, 0.55, 0.9, 0.5, 0.5, 0.05, 0.6, 0.4),
    "PDw": (0, 0.9, 0.85, 0.7, 0.8, 0.6, 0.6, 0.05, 0.75, 0.5),
}


@dataclass(frozen=True)
class Case:
    """One scan: a name, its contrast, its file, and a label map whose labels are the brain."""

    name: str
    contrast: str
    scan: str
    reference: str = ""
    closed: bool = False


def cases() -> list[Case]:
    """Return every head of the shared data that is judged."""
    found = []
    for n in range(1, 7):
        muse = f"anatomy/nc0{n}_muse.nii.gz"
        found.append(Case(f"nc0{n}", "T1w", f"anatomy/nc0{n}_T1w.nii.gz", muse, closed=True))
        found.append(Case(f"nc0{n}", "FLAIR", f"anatomy/nc0{n}_FLAIR.nii.gz"))
    for n in ("01", "12"):
        for contrast, suffix in (("T1w", "T1W"), ("T2w", "T2W"), ("FLAIR", "FLAIR")):
            stem = f"ms/patient{n}_{suffix}"
            found.append(Case(f"ms{n}", contrast, f"{stem}.nii.gz", f"{stem}_brainmask.nii.gz"))
        found.append(Case(f"ms{n}v2", "T1w", f"visits/ms{n}_visit2_T1W.nii.gz"))
        found.append(Case(f"ms{n}v2", "FLAIR", f"visits/ms{n}_visit2_FLAIR.nii.gz"))
    found.append(Case("mni", "T1w", "heads/mni_head_T1w_2mm.nii.gz"))
    web = "truth/brainweb_2mm"
    found.append(Case("bw2mm", "T1w", f"{web}/t1.nii.gz", f"{web}/mask.nii.gz"))
    found += [Case(f"lh0{n}", "T1w", f"heads/lhdata_sub-0{n}_T1w.nii.gz") for n in (1, 2, 3)]
    found.append(Case("chris", "T1w", "heads/chris_T1w.nii.gz"))
    colin = "truth/colin27"
    found.append(
        Case("colin", "T1w", f"{colin}/colin27_t1.nii.gz", f"{colin}/brainmask_csf_gm_wm.nii.gz")
    )
    for stem, name in [(f"truth/oasis/{n}", f"oasis{n}") for n in (1000, 1001, 1002, 1003)] + [
        ("visits/oasis1003_visit2", "oasis1003v2")
    ]:
        found.append(Case(name, "T1w", f"{stem}_SS.nii.gz", f"{stem}_mask.nii.gz"))
    labels = "anatomy/fs001_aparc+aseg.mgz"
    found.append(Case("fs001", "T1w", "anatomy/fs001_T1w.mgz", labels, closed=True))
    found += [Case(f"strip0{n}", "T1w", f"stripped/ds002748_sub-0{n}_T1w.nii.gz") for n in (1, 2)]
    found.append(Case("dicom", "T1w", "dicom/t1w_head"))
    found += [Case("crisp", contrast, "") for contrast in CRISP]
    return found


def read(case: Case, data: Path) -> tuple[Volume, BoolArray | None]:
    """Return a scan and its reference mask."""
    if not case.scan:
        return simulated(case.contrast, data)
    scan = nifti.load(data / case.scan)
    if not case.reference:
        return scan.volume, None
    brain = nifti.load_labels(data / case.reference, reference=scan)[0].data > 0
    return scan.volume, filled(brain, scan.volume.zooms, CLOSED_MM if case.closed else 0.0)


def simulated(contrast: str, data: Path) -> tuple[Volume, BoolArray]:
    """Return a scan of another contrast, made of BrainWeb's classes, and its brain."""
    scan = nifti.load(data / "truth/brainweb_crisp_1mm.nii.gz")
    labels = np.rint(scan.volume.data).astype(int)
    rng = np.random.default_rng(0)
    level = 1000 * np.array([*CRISP[contrast], *[0.4] * 5])[labels]
    level = ndimage.gaussian_filter(level, 0.5)
    noisy = np.hypot(level + rng.normal(0, 25, level.shape), rng.normal(0, 25, level.shape))
    brain = filled(np.isin(labels, (1, 2, 3, 8)), scan.volume.zooms, 0.0)
    return scan.volume.with_data(noisy.astype(np.float32)), brain


def filled(mask: BoolArray, zooms: tuple[float, ...], radius: float) -> BoolArray:
    """Close a mask by a ball, keep its largest part and fill its holes."""
    room = [int(np.ceil(radius / z)) + 1 for z in zooms]
    out = np.pad(mask, [(r, r) for r in room])
    if radius:
        wide = ndimage.distance_transform_edt(~out, sampling=zooms) <= radius
        out |= ndimage.distance_transform_edt(wide, sampling=zooms) > radius
    parts, _ = ndimage.label(out)
    out = ndimage.binary_fill_holes(parts == 1 + np.bincount(parts.ravel())[1:].argmax())
    inner: BoolArray = out[tuple(slice(r, -r) for r in room)]
    return inner


def at_two_mm(volume: Volume, reference: BoolArray | None) -> tuple[Volume, BoolArray | None]:
    """Average a scan and its mask over voxels of 2 mm; a stripped scan keeps a sharp edge."""
    sides = [n * z for n, z in zip(volume.shape, volume.zooms, strict=True)]
    x, y, z = ((n - 1) * s / 2 for n, s in zip(volume.shape, volume.zooms, strict=True))
    i, j, k = (round(s / TWO_MM) for s in sides)
    grid = Grid((x, y, z), TWO_MM, (i, j, k))
    data, _ = views.sample(volume.data, volume.zooms, grid)
    corner = float(volume.data[0, 0, 0])
    held = (volume.data != corner).astype(np.float32)
    if held.mean() < 0.5:
        data = np.where(views.sample(held, volume.zooms, grid)[0] > 0.5, data, corner)
    small = Volume(data.astype(np.float32), np.diag([TWO_MM] * 3 + [1.0]))
    if reference is None:
        return small, None
    return small, views.sample(reference.astype(np.float32), volume.zooms, grid)[0] > 0.5


def segmented(volume: Volume, contrast: str) -> dict[str, Any]:
    """Segment a scan and look at it; for T1w also move the placed atlas by 20 mm."""
    seen, doubt = map_checks.look(volume)
    if seen is None:
        return {"doubt": doubt}
    kept: dict[str, Any] = {
        "zooms": volume.zooms, "data": volume.data, "voxel": seen.view.voxel,
        "map": seen.probabilities.astype(np.float16), "centre": seen.view.centre,
    }  # fmt: skip
    if contrast != "T1w":
        return kept | {"own": extract_brain(volume).mask}
    result = segment_volume(volume, SegmentConfig(threads=1))
    mask, fractions = result.mask, result.fit.fractions
    agreements = []
    atlas = place_atlas(volume, mask)
    if atlas is not None:
        ours = regions(seen, volume, mask)
        agreements = [map_checks.agreement(ours, atlas)]
        for axis in range(3):
            for sign in (-1, 1):
                there = moved(atlas, mask, sign * round(MOVED_MM / volume.zooms[axis]), axis)
                agreements.append(map_checks.agreement(ours, there))
    return kept | {"own": mask, "fractions": fractions, "agreements": agreements}


def moved(atlas: Any, mask: BoolArray, steps: int, axis: int) -> Any:
    """Return maps in a mask, shifted by voxels along an axis; CSF where nothing is left."""
    whole = np.zeros((len(atlas), *mask.shape), np.float32)
    whole[:, mask] = atlas
    out = np.roll(whole, steps, axis=1 + axis)[:, mask]
    out[0] += out.sum(axis=0) == 0
    return out / out.sum(axis=0)


def numbers_of(kept: dict[str, Any], others: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return kind to what is measured of it, good ones first."""
    zooms = tuple(float(z) for z in kept["zooms"])
    view = Grid(tuple(kept["centre"]), float(kept["voxel"]), kept["map"].shape[1:])
    seen = HeadMap(kept["map"].astype(np.float32), view)
    volume = Volume(kept["data"], np.diag([*zooms, 1.0]))
    found: dict[str, Any] = {}

    def measure(kind: str, mask: BoolArray) -> None:
        found[kind] = result_checks.compare_mask(seen, mask, zooms).numbers

    frame = find_frame(volume, kept["own"])
    for name in ("own", "reference"):
        if name in kept:
            measure(f"{name} mask", kept[name])
    # Own masks are spoiled at every voxel size, references at 2 mm: time is short.
    sources = ["own"] + (["reference"] if "reference" in kept and min(zooms) > 1.9 else [])
    for name in sources:
        for kind, mask in spoil(kept[name], zooms, frame):
            measure(f"{name}: {kind}", mask)
    for name, other in others:
        mask = other_persons(other["own"], tuple(other["zooms"]), kept["own"], zooms)
        measure(f"own: another person's mask ({name})", mask)
    if "fractions" in kept:
        for kind, order in (
            ("tissues as they are", (0, 1, 2)), ("GM and WM swapped", (0, 2, 1)),
            ("CSF and GM swapped", (1, 0, 2)), ("CSF and WM swapped", (2, 1, 0)),
        ):  # fmt: skip
            tissues = kept["fractions"][:, order]
            found[kind] = result_checks.compare_tissues(seen, kept["own"], tissues, zooms)
        for n, agreement in enumerate(kept["agreements"]):
            kind = f"map of regions moved 20 mm ({n})" if n else "map of regions as placed"
            found[kind] = {"agreement": float(agreement)}
    return found


def level_of(numbers: dict[str, float]) -> str:
    """Return the verdict on numbers: what could not be measured is Look, as in a run."""
    if "agreement" in numbers:
        return LOOK if numbers["agreement"] < map_checks.LEAST_REGION_DICE else PASS
    if not numbers:
        return LOOK
    checks = out_of_range(Quality(dict(numbers), {}))
    return max((c.level for c in checks), key=ORDER.__getitem__, default=PASS)


def gather(work: Path, data: Path) -> Iterator[tuple[str, str, str, str, dict[str, float]]]:
    """Yield head, contrast, voxel size, kind and numbers; what is slow is read from WORK."""
    keys = []
    for case in cases():
        volume = reference = None
        for size in ("2 mm", "native"):
            key = f"{case.name}_{case.contrast}@{size.split()[0]}"
            path = work / f"{key}.npz"
            if not path.exists() and not (work / f"{key}.none").exists():
                if volume is None:
                    volume, reference = read(case, data)
                is_two = all(abs(z - TWO_MM) < 0.05 for z in volume.zooms)
                if is_two and size == "native":
                    (work / f"{key}.none").touch()
                    continue
                scan, mask = volume, reference
                if size == "2 mm" and not is_two:
                    scan, mask = at_two_mm(volume, reference)
                kept = segmented(scan, case.contrast)
                np.savez(path, **kept, **({} if mask is None else {"reference": mask}))
                print(f"segmented {key}", flush=True)
            if path.exists():
                keys.append((case, size, key))
    for n, (case, size, key) in enumerate(keys):
        path = work / f"{key}.json"
        if not path.exists():
            kept = dict(np.load(work / f"{key}.npz"))
            if "doubt" in kept:
                found = {"own mask": {}}
            else:
                strangers = [
                    k for c, s, k in keys if s == "2 mm" and person(c.name) != person(case.name)
                ]
                picked = [strangers[(7 * n + 3 * m) % len(strangers)] for m in (0, 1)]
                others = [(k, np.load(work / f"{k}.npz")) for k in picked if len(strangers) > 1]
                found = numbers_of(kept, others)
            path.write_text(json.dumps(found))
            print(f"spoiled {key}", flush=True)
        for kind, numbers in json.loads(path.read_text()).items():
            yield case.name, case.contrast, size, kind, numbers


def person(name: str) -> str:
    """Return who a scan is of: a second visit is no other person, and BrainWeb is Colin."""
    first = name.split("_")[0].removesuffix("v2")
    return "colin" if first in ("crisp", "bw2mm") else first


def summarised(kind: str) -> str:
    """Return the row that a kind is counted in."""
    _, _, rest = kind.partition(": ")
    row = rest or kind
    for start in ("shifted 6 mm", "half a brain", "another person's mask", "map of regions moved"):
        if row.startswith(start):
            row = start
    return row


def main() -> None:
    """Print the counts."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder for what is slow to make")
    parser.add_argument("--data", type=Path, default=root.parent / "shared/data")
    parser.add_argument("--values", action="store_true", help="print the numbers, too")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    counts: dict[tuple[str, ...], Counter[str]] = {}
    with threadpool_limits(1):
        for head, contrast, size, kind, numbers in gather(args.work, args.data):
            level = level_of(numbers)
            part = "held out" if head.startswith(HELD_OUT) else "limits"
            good = kind.endswith((" mask", "as they are", "as placed"))
            row = f"{contrast} {kind}" if kind.endswith(" mask") else summarised(kind)
            counts.setdefault(("good" if good else "spoiled", row, size, part), Counter())[
                level
            ] += 1
            if args.values or (good and level != PASS) or (not good and level == PASS):
                shown = " ".join(f"{k}={v:.2f}" for k, v in numbers.items())
                print(f"{level:5} {head:12} {contrast:6} {size:7} {kind:60} {shown}")
    tell(counts)


def tell(counts: dict[tuple[str, ...], Counter[str]]) -> None:
    """Print the counts as tables: kinds by voxel size, then sums by set."""
    sizes, parts = ("2 mm", "native"), ("limits", "held out")
    print(f"\n| | kind | {' | '.join(sizes)} |\n|---|---|{'---|' * len(sizes)}")
    for good, row in sorted({key[:2] for key in counts}):
        shown = [_counted([counts.get((good, row, s, p), Counter()) for p in parts]) for s in sizes]
        print(f"| {good} | {row} | {' | '.join(shown)} |")
    print(f"\n| | set | {' | '.join(sizes)} | passed |\n|---|---|{'---|' * (len(sizes) + 1)}")
    for good in ("good", "spoiled"):
        for part in parts:
            these = {k: c for k, c in counts.items() if (k[0], k[3]) == (good, part)}
            shown = [_counted([c for k, c in these.items() if k[2] == s]) for s in sizes]
            total = sum(these.values(), Counter())
            share = total[PASS] / max(total.total(), 1)
            print(f"| {good} | {part} | {' | '.join(shown)} | {share:.1%} |")


def _counted(found: list[Counter[str]]) -> str:
    """Show how many passed, asked for a look and failed."""
    total = sum(found, Counter())
    return " / ".join(str(total[level]) for level in (PASS, LOOK, FAIL)) if total else ""


if __name__ == "__main__":
    main()
