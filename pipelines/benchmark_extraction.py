"""Measure brain extraction: Dice on references, steadiness, seconds and memory.

Anyone who has the data folder can run it::

    python pipelines/benchmark_extraction.py --data ../shared/data --route network atlas

Three tables. *References*: Dice with masks of other origin, on the scan's own grid; they were
looked at, never trained on. *Steadiness*: the scan is spoiled in a known way and its mask compared
with the mask of the clean scan, carried along. *Cost*: seconds and peak memory for a head of
256x256x176 voxels in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainseg.anatomy.brain import Extraction, extract_brain
from brainseg.anatomy.views import Grid, apply, averaging
from brainseg.core.metrics import dice
from brainseg.core.volume import Array, BoolArray, Volume
from brainseg.io import nifti

Spoiled = tuple[Volume, Callable[[BoolArray], BoolArray]]

REFERENCES = {
    "colin27 T1w": ("truth/colin27/colin27_t1", "truth/colin27/brainmask_csf_gm_wm"),
    **{
        f"ms {patient} {contrast}": (
            f"ms/patient{patient}_{contrast}",
            f"ms/patient{patient}_{contrast}_brainmask",
        )
        for contrast in ("T1W", "T2W", "FLAIR")
        for patient in ("01", "12")
    },
    **{
        f"stripped oasis {n}": (f"truth/oasis/{n}_SS", f"truth/oasis/{n}_mask")
        for n in (1000, 1001, 1002, 1003)
    },
}
HEADS = (
    "heads/lhdata_sub-01_T1w",
    "heads/lhdata_sub-02_T1w",
    "heads/lhdata_sub-03_T1w",
    "heads/chris_T1w",
    "truth/colin27/colin27_t1",
)


def load(data: Path, name: str) -> Volume:
    """Read a scan in canonical axis order."""
    return nifti.load(data / f"{name}.nii.gz").volume


def references(data: Path, routes: list[str], threads: int) -> None:
    """Print Dice with every reference, by route."""
    print("\nDice with references")
    print(f"{'':22}" + "".join(f"{r:>30}" for r in routes))
    scores: dict[str, list[float]] = {r: [] for r in routes}
    for name, (scan, truth) in REFERENCES.items():
        volume = load(data, scan)
        mask = load(data, truth).data > 0
        row = f"{name:22}"
        for route in routes:
            found, seconds = timed(volume, route, threads)
            score = dice(found.mask, mask)
            if not name.startswith("stripped"):
                scores[route].append(score)
            row += f"{score:.4f} {found.route:>8} {seconds:5.1f} s".rjust(30)
        print(row, flush=True)
    for route, values in scores.items():
        print(f"{route}: median {np.median(values):.4f}, least {min(values):.4f} (whole heads)")


def timed(volume: Volume, route: str, threads: int) -> tuple[Extraction, float]:
    """Extract and say how long it took."""
    start = time.perf_counter()
    found = extract_brain(volume, route=route, threads=threads)
    return found, time.perf_counter() - start


def steadiness(data: Path, routes: list[str], threads: int) -> None:
    """Print Dice between the masks of spoiled and clean scans: median and least of the heads."""
    scores: dict[str, dict[str, list[float]]] = {r: {} for r in routes}
    for name in HEADS:
        volume = load(data, name)
        for route in routes:
            clean = extract_brain(volume, route=route, threads=threads).mask
            for what, (spoiled, carry) in spoil(volume, clean):
                try:
                    mask = extract_brain(spoiled, route=route, threads=threads).mask
                    score = dice(mask, carry(clean))
                except Exception as error:  # a table of failures is what this is for
                    print(f"  {name} {what} {route}: {error}")
                    score = 0.0
                scores[route].setdefault(what, []).append(score)
                print(f"  {name} {what} {route} {score:.4f}", file=sys.stderr, flush=True)
    print(f"\nDice with the clean scan's mask, {len(HEADS)} heads: median / least")
    print(f"{'':22}" + "".join(f"{r:>18}" for r in routes))
    for what in scores[routes[0]]:
        cells = (f"{np.median(s[what]):.4f} / {min(s[what]):.4f}" for s in scores.values())
        print(f"{what:22}" + "".join(f"{c:>18}" for c in cells))


def spoil(volume: Volume, clean: BoolArray) -> Iterator[tuple[str, Spoiled]]:
    """Yield the scan spoiled in the ways of the table, and how its mask is carried along."""

    def same(mask: BoolArray) -> BoolArray:
        return mask

    rng = np.random.default_rng(0)
    data = volume.data.astype(np.float32)
    for axis in range(3):
        for degrees in (10, 20, 30):
            yield f"rotated {degrees} about {'xyz'[axis]}", rotated(volume, axis, degrees)
    yield "bias 60 %", (volume.with_data(data * bias(volume.shape, 0.6)), same)
    level = 0.09 * float(np.percentile(data[clean], 95))
    a, b = (rng.normal(0, level, volume.shape).astype(np.float32) for _ in range(2))
    yield "noise 9 %", (volume.with_data(np.sqrt((data + a) ** 2 + b**2)), same)
    yield "slices 5 mm", averaged(volume, (volume.zooms[0], volume.zooms[1], 5.0))
    yield "voxels 3 mm", averaged(volume, (3.0, 3.0, 3.0))
    levels = np.flatnonzero(clean.any(axis=(0, 1)))
    for what, keep in (
        ("top 25 mm cropped", slice(0, int(levels[-1] - 25 / volume.zooms[2]))),
        ("bottom 30 mm cropped", slice(int(levels[0] + 30 / volume.zooms[2]), None)),
    ):
        yield what, cropped(volume, keep)
    yield "inverted", (volume.with_data(data.max() - data), same)
    hot = data.copy()
    hot[tuple(s // 2 for s in volume.shape)] = 1000 * data.max()
    yield "hot voxel", (volume.with_data(hot), same)


def bias(shape: tuple[int, ...], strength: float) -> Array:
    """Return a smooth field from ``1 - strength / 2`` to ``1 + strength / 2``."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    field = x + 0.6 * y - 0.8 * z + 0.5 * x * y + 0.6 * z**2
    field = (field - field.min()) / (field.max() - field.min())
    return (1 + strength * (field - 0.5)).astype(np.float32)


def rotated(volume: Volume, axis: int, degrees: float) -> Spoiled:
    """Turn the head in its scanner, on a grid that holds all of it."""
    i, j = (a for a in range(3) if a != axis)
    turn = np.eye(3)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
    zooms = np.array(volume.zooms)
    extent = np.abs(turn) @ (np.array(volume.shape) * zooms)
    shape = tuple(int(n) for n in np.ceil(extent / zooms))
    matrix = np.diag(1 / zooms) @ turn.T @ np.diag(zooms)
    offset = (np.array(volume.shape) - 1) / 2 - matrix @ ((np.array(shape) - 1) / 2)

    def resample(data: Array) -> Array:
        return ndimage.affine_transform(
            data.astype(np.float32), matrix, offset, shape, order=1, cval=float(data.min())
        )

    return Volume(resample(volume.data), volume.affine), lambda mask: resample(mask) > 0.5


def averaged(volume: Volume, zooms: tuple[float, float, float]) -> Spoiled:
    """Average over larger voxels."""
    shape = [int(n * z / new) for n, z, new in zip(volume.shape, volume.zooms, zooms, strict=True)]
    operators = []
    for a in range(3):
        centre = (volume.shape[a] - 1) / 2 * volume.zooms[a]
        view = Grid((centre,) * 3, zooms[a], (shape[a],) * 3)
        operators.append(averaging(volume.shape[a], volume.zooms[a], view, a)[0])
    triple = (operators[0], operators[1], operators[2])
    affine = volume.affine @ np.diag([*(np.array(zooms) / volume.zooms), 1])
    return (
        Volume(apply(triple, volume.data), affine),
        lambda mask: apply(triple, mask.astype(np.float32)) > 0.5,
    )


def cropped(volume: Volume, keep: slice) -> Spoiled:
    """Cut slices off."""
    return Volume(volume.data[:, :, keep], volume.affine), lambda mask: mask[:, :, keep]


def cost(data: Path, routes: list[str], threads: int) -> None:
    """Print seconds and peak memory of a process that only extracts a brain."""
    print(f"\nCost for 256x256x176 voxels, {threads} threads")
    for route in routes:
        command = [sys.executable, __file__, "--data", str(data), "--route", route]
        out = subprocess.run(
            [*command, "--threads", str(threads), "--alone"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        r = json.loads(out.splitlines()[-1])
        print(
            f"{route}: {r['seconds']:.1f} s wall, {r['cpu']:.1f} s CPU; peak {r['peak']:.0f} MB, "
            f"{r['before']:.0f} MB of it before extracting"
        )


def alone(data: Path, route: str, threads: int) -> None:
    """Extract once; the cost of this process is what `cost` prints."""
    volume = load(data, HEADS[0])
    zooms = np.array(volume.zooms) * volume.shape / (256, 256, 176)
    big = ndimage.zoom(volume.data, np.array((256, 256, 176)) / volume.shape, order=1)
    volume = Volume(big.astype(np.float32), np.diag([*zooms, 1.0]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = time.process_time()
    _, seconds = timed(volume, route, threads)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"seconds": seconds, "cpu": time.process_time() - cpu, "peak": peak, "before": before}
    print(json.dumps(result))


def main() -> None:
    """Read the options and print the tables."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=root.parent / "shared/data")
    add("--route", nargs="+", default=["network"])
    add("--threads", type=int, default=2)
    add("--table", nargs="+", default=["references", "steadiness", "cost"])
    add("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        alone(args.data, args.route[0], args.threads)
        return
    tables = {"references": references, "steadiness": steadiness, "cost": cost}
    for name in args.table:
        tables[name](args.data, args.route, args.threads)


if __name__ == "__main__":
    main()
