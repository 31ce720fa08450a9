"""How well changes between visits are measured: synthetic truth, real visits, zero change.

Tables, each with the ordinary path's figures (every scan segmented alone) beside those of
`brainseg long`:

1. a synthetic head whose ventricles grow, or whose cortex thins, by a known share of their volume,
   scanned anew (noise, bias field, gain, position) at each visit;
2. the same head again with nothing changed, once turned by 10 degrees and with twice the
   noise: the error of a change of zero;
3. real visits of people who hardly changed, from ``--data``; the root mean square of those
   segmented together is `brainseg.longitudinal.change.REPEATABILITY`, that of those segmented alone
   over the square root of two is `brainseg.tissues.tables.REPEATABILITY_ALONE`;
4. real whole heads against themselves, turned by 10 degrees, resampled and with noise added, also
   from ``--data``; with the processor seconds of both paths.

After the synthetic table come bias and standard deviation of each kind of change over the heads
(``--heads``).
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from brainseg.config import SegmentConfig
from brainseg.core.masking import bounding_box
from brainseg.core.volume import Volume
from brainseg.evaluation.phantom import WHITE, bias_field, make_phantom, rician
from brainseg.io import nifti
from brainseg.longitudinal.person import segment_person
from brainseg.pipeline import segment_volume
from brainseg.tissues.tables import THREE

log = logging.getLogger("evaluate_longitudinal")

TISSUES = ("CSF", "GM", "WM", "brain")
REAL = {
    # two scans within 90 days, 1 mm, stripped
    "oasis1003": ("truth/oasis/1003_SS.nii.gz", "visits/oasis1003_visit2_SS.nii.gz"),
    # clinical slices of 3 mm: one grid, and two grids with a contrast agent at the second visit
    "ms12": ("ms/patient12_T1W.nii.gz", "visits/ms12_visit2_T1W.nii.gz"),
    "ms01": ("ms/patient01_T1W.nii.gz", "visits/ms01_visit2_T1W.nii.gz"),
}
# Intensities of a T1w scan, as `brainseg.evaluation.phantom.CONTRASTS` has them.
CSF, GM, WM = (t.index for t in THREE.tissues)
LEVELS = {CSF: 0.22, GM: 0.62, WM: 1.0}
# Whole heads, 1 x 1.33 x 1.33 mm.
HEADS = ("heads/lhdata_sub-01_T1w.nii.gz", "heads/lhdata_sub-02_T1w.nii.gz")
TURNED, MOVED = 10.0, 6.0
"""Degrees of the head that is turned and has not changed, and at most of every other."""
BIAS = 20.0
"""Per cent."""
FINER = 2
"""Voxels of the truth along an edge of a scanned voxel: so surfaces cut scanned voxels."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Tissues of a head on a fine grid, and what lies around the brain."""

    labels: NDArray[np.uint8]
    around: NDArray[np.float32]
    affine: NDArray[np.float64]


def truth(zoom: float, seed: int) -> Truth:
    """Draw a head at a fraction of the scanned voxel."""
    head = make_phantom(zooms=(zoom / FINER,) * 3, noise=0, bias=0, seed=seed)
    around = np.where(head.three > 0, 0, head.volume.data).astype(np.float32)
    return Truth(head.three, around, head.volume.affine)


def turning(head: Truth, tissue: str, most: float) -> tuple[NDArray[np.intp], int]:
    """Say which voxels of the fine grid become CSF, in what order.

    Parameters
    ----------
    head : Truth
    tissue : str
        The ventricles grow into white matter, or the cortex thins.
    most : float
        Per cent of the volume, the largest change that will be asked for.

    Returns
    -------
    order : ndarray of int
        Flat indices of the voxels nearest to the boundary, the nearest first.
    size : int
        Voxels of the ventricles, or of grey matter.
    """
    box = bounding_box(head.labels > 0, margin=1)
    labels = head.labels[box]
    csf = labels == CSF
    middle = ndimage.distance_transform_edt(labels > 0)
    inner = csf & (middle > 0.5 * middle.max())
    if tissue == "ventricles":
        region, into = inner, labels == WM
    else:
        region, into = csf & ~inner, labels == GM
    size = int(inner.sum()) if tissue == "ventricles" else int(into.sum())
    there = np.flatnonzero(into)
    # Equal distances are dealt out evenly over the head.
    distance = ndimage.distance_transform_edt(~region).ravel()[there]
    distance += 1e-3 * np.random.default_rng(0).random(len(there))
    nearest = np.argpartition(distance, round(most / 100 * size))[: round(most / 100 * size)]
    places = np.unravel_index(there[nearest[np.argsort(distance[nearest])]], labels.shape)
    shifted = tuple(place + part.start for place, part in zip(places, box, strict=True))
    return np.ravel_multi_index(shifted, head.labels.shape), size


def changed(head: Truth, turned: NDArray[np.intp]) -> tuple[Truth, dict[str, float]]:
    """Turn voxels of the fine grid into CSF.

    Returns
    -------
    changed : Truth
    volumes : dict
        True change in per cent of CSF, GM, WM and brain.
    """
    labels = head.labels.copy()
    labels.ravel()[turned] = CSF
    change = {}
    for name, values in (("CSF", (CSF,)), ("GM", (GM,)), ("WM", (WM,)), ("brain", (GM, WM))):
        before, after = (np.isin(m, values).sum() for m in (head.labels, labels))
        change[name] = 100 * (float(after) / float(before) - 1)
    return Truth(labels, head.around, head.affine), change


def scan(head: Truth, *, noise: float, seed: int, turned: bool = False) -> Volume:
    """Scan a head: move it, average over voxels, and add gain, bias field and noise.

    It turns by up to `MOVED` degrees about each axis, or by `TURNED` about the first alone.
    """
    rng = np.random.default_rng(seed)
    clean = head.around.copy()
    for label, level in LEVELS.items():
        clean[head.labels == label] = level * WHITE
    turn = np.eye(4)
    angles = np.array([TURNED, 0, 0]) if turned else rng.uniform(-MOVED, MOVED, 3)
    turn[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    turn[:3, 3] = rng.uniform(-5, 5, 3)
    index = np.linalg.inv(head.affine) @ turn @ head.affine
    clean = ndimage.affine_transform(clean, index[:3, :3], index[:3, 3], order=1)
    shape = [n // FINER for n in clean.shape]
    whole = clean[tuple(slice(0, n * FINER) for n in shape)]
    blocks = whole.reshape(shape[0], FINER, shape[1], FINER, shape[2], FINER)
    small = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    small *= bias_field(rng, small.shape, BIAS) * rng.uniform(0.7, 1.4)
    affine = head.affine @ np.diag([FINER, FINER, FINER, 1.0])
    affine[:3, 3] += head.affine[:3, :3] @ np.full(3, (FINER - 1) / 2)
    return Volume(rician(small, noise / 100 * WHITE, rng), affine)


def together(one: Volume, other: Volume, config: SegmentConfig) -> dict[str, float]:
    """Change in per cent by `segment_person`."""
    person = segment_person([one, other], config)
    return difference(person.volumes_ml(0), person.volumes_ml(1))


def alone(volume: Volume, config: SegmentConfig) -> dict[str, float]:
    """Volumes in mL by `segment_volume`, a scan by itself."""
    ml = segment_volume(volume, config).volumes_ml
    return ml | {"brain": ml["GM"] + ml["WM"]}


def difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Change in per cent."""
    return {t: 100 * (after[t] / before[t] - 1) for t in TISSUES}


def synthetic(options: argparse.Namespace, config: SegmentConfig) -> Iterator[dict[str, object]]:
    """Known changes, and none, on synthetic heads."""
    for seed in range(options.heads):
        head = truth(options.zoom, seed)
        first = scan(head, noise=options.noise, seed=1000 + seed)
        before = {} if options.long_only else alone(first, config)
        cases = [("none", 0.0), ("turned", 0.0)] + [
            (tissue, percent) for tissue in ("ventricles", "cortex") for percent in options.percents
        ]
        orders = {t: turning(head, t, max(options.percents)) for t, percent in cases if percent}
        for case, (tissue, percent) in enumerate(cases):
            order, size = orders.get(tissue, (np.zeros(0, np.intp), 0))
            other, true = changed(head, order[: round(percent / 100 * size)])
            again = tissue == "turned"
            second = scan(
                other,
                noise=options.noise * (2 if again else 1),
                seed=2000 + 100 * seed + case,
                turned=again,
            )
            row: dict[str, object] = {"head": seed, "change": tissue, "percent": percent}
            row |= {"true": true, "long": together(first, second, config)}
            if before:
                row["alone"] = difference(before, alone(second, config))
            yield row


def real(options: argparse.Namespace, config: SegmentConfig) -> Iterator[dict[str, object]]:
    """Visits of people who hardly changed."""
    for name, files in REAL.items():
        one, other = (nifti.load(options.data / file).volume for file in files)
        row: dict[str, object] = {"visits": name, "long": together(one, other, config)}
        if not options.long_only:
            row["alone"] = difference(alone(one, config), alone(other, config))
        yield row


def unchanged(options: argparse.Namespace, config: SegmentConfig) -> Iterator[dict[str, object]]:
    """Real heads against themselves, turned and with noise; and processor seconds."""
    rng = np.random.default_rng(0)
    for file in HEADS:
        volume = nifti.load(options.data / file).volume
        other = turned(volume, options.noise, rng)
        row: dict[str, object] = {"scan": file, "change": "turned"}
        start = process_time()
        row["long"] = together(volume, other, config)
        two = process_time() - start
        if not options.long_only:
            before = alone(volume, config)
            one = process_time() - start - two
            row["seconds"] = {"two together": two, "one alone": one}
            row["alone"] = difference(before, alone(other, config))
        yield row


def turned(volume: Volume, noise: float, rng: np.random.Generator) -> Volume:
    """Turn a scan by `TURNED` degrees about the middle of its grid, and add noise (% of white)."""
    turn = Rotation.from_euler("x", TURNED, degrees=True).as_matrix()
    affine = volume.affine
    middle = affine[:3, :3] @ ((np.array(volume.shape) - 1) / 2) + affine[:3, 3]
    back = np.eye(4)
    back[:3, :3], back[:3, 3] = turn, middle - turn @ middle
    index = np.linalg.inv(affine) @ back @ affine
    data = ndimage.affine_transform(volume.data, index[:3, :3], index[:3, 3], order=3)
    # White matter is the brightest large part of a T1w head.
    white = float(np.percentile(data, 99))
    return volume.with_data(rician(np.maximum(data, 0), noise / 100 * white, rng))


TABLES = {"real": real, "unchanged": unchanged, "synthetic": synthetic}


def main() -> None:
    """Print one JSON line a comparison, and the root mean squares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of real scans")
    parser.add_argument("--tables", nargs="*", choices=TABLES, help="default: all with --data")
    parser.add_argument("--heads", type=int, default=2, help="synthetic heads (default 2)")
    parser.add_argument("--zoom", type=float, default=1.0, help="mm of their voxels (default 1)")
    parser.add_argument("--noise", type=float, default=3.0, help="%% (default 3)")
    parser.add_argument("--percents", type=float, nargs="*", default=[0.5, 1, 2, 5])
    parser.add_argument("--long-only", action="store_true", help="leave out the ordinary path")
    options = parser.parse_args()
    if not options.data and {"real", "unchanged"} & set(options.tables or ()):
        parser.error("the tables `real` and `unchanged` need --data")
    config = SegmentConfig(tissues="three")
    for name in options.tables or (TABLES if options.data else ["synthetic"]):
        kept = []
        for row in TABLES[name](options, config):
            print(json.dumps(_rounded(row)), flush=True)
            kept.append(row)
        for way in ("long", "alone"):
            print(json.dumps({"rms": way} | _rounded(_rms(kept, way))), flush=True)
            for line in _spread(kept, way):
                print(json.dumps(line), flush=True)


def _spread(rows: list[dict[str, object]], way: str) -> Iterator[dict[str, object]]:
    """Bias and standard deviation of found minus true change over the heads, by kind of change."""
    errors: dict[tuple[object, object], list[list[float]]] = {}
    for row in rows:
        if way in row and "true" in row:
            found, true = row[way], row["true"]
            error = [found[t] - true[t] for t in TISSUES]  # type: ignore[index]
            errors.setdefault((row["change"], row["percent"]), []).append(error)
    for (change, percent), values in errors.items():
        table = np.array(values)
        if len(table) > 1:
            yield {
                "change": change,
                "percent": percent,
                "way": way,
                "heads": len(table),
                "bias": dict(zip(TISSUES, table.mean(axis=0).round(3).tolist(), strict=True)),
                "sd": dict(zip(TISSUES, table.std(axis=0, ddof=1).round(3).tolist(), strict=True)),
            }


def _rms(rows: list[dict[str, object]], way: str) -> dict[str, object]:
    """Root mean square by tissue of found minus true change."""
    out: dict[str, object] = {}
    for tissue in TISSUES:
        errors = [
            row[way][tissue] - row.get("true", {}).get(tissue, 0.0)  # type: ignore[index, attr-defined]
            for row in rows
            if way in row
        ]
        if errors:
            out[tissue] = float(np.sqrt(np.mean(np.square(errors))))
    return out


def _rounded(value: dict[str, object]) -> dict[str, object]:
    return {
        key: {k: round(v, 3) for k, v in part.items()} if isinstance(part, dict)
        else round(part, 3) if isinstance(part, float) else part
        for key, part in value.items()
    }  # fmt: skip


if __name__ == "__main__":
    main()
