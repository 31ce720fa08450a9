"""Judge the head network: its regions on real heads, and what its probabilities are worth.

    python pipelines/evaluate_network.py --data ../shared/data --table regions levels

*regions*: Dice of argmax maps with automatic parcellations of the seven heads of ``anatomy/``, of
the network, of the registered atlas, and of their mean; and in how much of the brain the two
disagree. *levels*: Dice of the brain mask and mL of parcellated tissue outside it, by the
probability at which the mask ends. *implausible*: what the map's own measures say of these heads.
*strangers*: the same of things that are no heads, drawn here with noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits

from brainseg.anatomy import head, map_checks
from brainseg.anatomy.brain import extract_brain
from brainseg.anatomy.refine import interpolate, solid
from brainseg.atlas.head_atlas import BRAIN
from brainseg.atlas.placing import place_atlas
from brainseg.core.metrics import dice
from brainseg.core.volume import BoolArray, Volume
from brainseg.io import nifti

MUSE = {
    "deep_grey": (23, 30, 31, 32, 36, 37, 47, 48, *range(55, 63)),
    "brain_stem": (35,),
    "cerebellum": (38, 39, 40, 41, 71, 72, 73),
    "white": (44, 45, *range(81, 96)),
    "cortical_grey": (75, 76, *range(100, 1000)),
}
FREESURFER = {
    "deep_grey": (10, 11, 12, 13, 17, 18, 26, 28, *range(49, 55), 58, 60),
    "brain_stem": (16,),
    "cerebellum": (7, 8, 46, 47),
    "white": (2, 41, 77, 85, *range(251, 256)),
    "cortical_grey": (3, 42, *range(1000, 3000)),
}
"""Codes of the regions; see the README of ``anatomy/``."""
REGIONS = {
    "deep_grey": ("deep_grey",),
    "brain_stem": ("brain_stem",),
    "cerebellum": ("cerebellar_grey", "cerebellar_white"),
    "white": ("white",),
    "cortical_grey": ("cortical_grey",),
}
LEVELS = (0.3, 0.4, 0.5)


@dataclass(frozen=True, eq=False)
class Case:
    """One head with the parcellated regions that are its reference."""

    name: str
    volume: Volume
    truth: dict[str, BoolArray]

    @property
    def tissue(self) -> BoolArray:
        """All that is parcellated as tissue."""
        out: BoolArray = np.logical_or.reduce(list(self.truth.values()))
        return out


def cases(data: Path, names: list[str] | None) -> Iterator[Case]:
    """Yield the heads with parcellations."""
    for path in sorted((data / "anatomy").glob("*_T1w.*")):
        name = path.name.split("_")[0]
        if names and name not in names:
            continue
        scan = nifti.load(path)
        known = FREESURFER if name.startswith("fs") else MUSE
        kind = "aparc+aseg.mgz" if name.startswith("fs") else "muse.nii.gz"
        labels = nifti.load_labels(path.with_name(f"{name}_{kind}"), reference=scan)[0].data
        truth = {region: np.isin(labels, codes) for region, codes in known.items()}
        yield Case(name, scan.volume, truth)


def placed(case: Case, cache: Path | None) -> tuple[BoolArray, NDArray[np.float32] | None]:
    """Return the brain mask of the default route and the atlas placed in it."""
    kept = cache / f"atlas_{case.name}.npz" if cache else None
    if kept and kept.exists():
        with np.load(kept) as z:
            return z["mask"], z["p"].astype(np.float32) if z["p"].size else None
    brain = extract_brain(case.volume)
    prior = place_atlas(case.volume, brain.mask)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        p = np.zeros(0) if prior is None else prior.astype(np.float16)
        np.savez(kept, mask=brain.mask, p=p)
    return brain.mask, prior


def scores(case: Case, p: NDArray[np.float32], mask: BoolArray) -> list[float]:
    """Dice of each region with its reference; `p` of shape (7, n_mask) in the atlas' order."""
    best = p.argmax(axis=0)
    out = []
    for region, classes in REGIONS.items():
        found = np.zeros_like(mask)
        found[mask] = np.isin(best, [BRAIN.index(c) for c in classes])
        out.append(dice(found, case.truth[region]))
    return out


def tables(args: argparse.Namespace) -> None:
    """Print what was asked for, head by head, then median and least."""
    rows: dict[str, list[list[float]]] = {}
    levels: list[list[float]] = []
    if "regions" in args.table:
        print(f"{'Dice of regions':22}" + "".join(f"{r:>15}" for r in REGIONS))
    for case in cases(args.data, args.heads):
        found = head.map_head(
            case.volume, voxel=args.voxel, threads=args.threads, mirrored=args.mirrored
        )
        brain = interpolate(case.volume, found.brain, found.view)
        if "implausible" in args.table:
            measures = map_checks.measure(found)
            print(
                case.name,
                {k: round(v, 3) for k, v in measures.items()},
                map_checks.doubts(measures),
            )
        mask, atlas = placed(case, args.cache) if args.atlas else (solid(brain > 0.5), None)
        if "regions" in args.table:
            ours = head.regions(found, case.volume, mask)
            maps = {"network": ours}
            if atlas is not None:
                maps |= {"atlas": atlas, "mean": (ours + atlas) / 2}
            for name, p in maps.items():
                row = scores(case, p, mask)
                rows.setdefault(name, []).append(row)
                print(f"{case.name:12}{name:10}" + "".join(f"{v:>15.3f}" for v in row), flush=True)
            if atlas is not None:
                agree = map_checks.agreement(ours, atlas)
                apart = float((ours.argmax(axis=0) != atlas.argmax(axis=0)).mean())
                print(f"{case.name:12}differ in {apart:.1%} of the brain, agree by {agree:.3f}")
        if "levels" in args.table:
            masks = {"default": mask} | {f"{v:g}": solid(brain > v) for v in LEVELS}
            row = [
                float((case.tissue & ~m).sum()) * case.volume.voxel_volume for m in masks.values()
            ]
            sizes = [float(m.sum()) * case.volume.voxel_volume for m in masks.values()]
            levels.append(row)
            cells = zip(masks, row, sizes, strict=True)
            print(case.name, *(f"{n}: lost {v:.1f} of {s:.0f} mL;" for n, v, s in cells))
    for name, values in rows.items():
        table = np.array(values)
        cells = zip(np.median(table, axis=0), table.min(axis=0), strict=True)
        print(f"{name:22}" + "".join(f"{f'{a:.3f} / {b:.3f}':>15}" for a, b in cells))
    if levels:
        print("mL of parcellated tissue lost, median, by mask:", np.median(levels, axis=0).round(2))


def strangers() -> Iterator[tuple[str, Volume]]:
    """Draw what a scanner sees that is no head, at 2 mm."""
    rng = np.random.default_rng(0)
    side = 110
    x, y, z = 2.0 * (np.indices((side,) * 3) - side / 2)
    radius, across = np.sqrt(x**2 + y**2 + z**2), np.hypot(x, y)
    flesh = ndimage.gaussian_filter(rng.standard_normal((side,) * 3), 3)
    flesh /= flesh.std()
    bottle = (across < 55) & (np.abs(z) < 95)
    squares = (x // 10 + y // 10 + z // 10) % 2 == 0
    segments = np.abs(np.sin(5 * np.arctan2(y, x))) * across < 3
    oval = np.sqrt((x / 60) ** 2 + (y / 80) ** 2 + (z / 65) ** 2)
    shapes = {
        "sphere": np.where(radius < 80, 900, 0),
        "small sphere": np.where(radius < 55, 900, 0),
        "ball in a shell": np.select([radius < 70, radius < 78, radius < 90], [700, 50, 1000]),
        "bottle": np.where(bottle, 900, 0),
        "grid phantom": np.where(bottle, np.where(squares, 900, 200), 0),
        "melon": np.select([radius < 72, radius < 85], [700 + 120 * flesh, 300]),
        "orange": np.select(
            [(radius < 60) & segments, radius < 60, radius < 68], [200, 800 + 60 * flesh, 400]
        ),
        "two tissues in a shell": np.select(
            [(oval < 0.85) & (flesh > 0), oval < 0.85, oval < 1, oval < 1.15], [900, 600, 80, 1000]
        ),
    }
    for name, shape in shapes.items():
        real, other = (20 * rng.standard_normal(shape.shape) for _ in range(2))
        noisy = np.sqrt((shape + real) ** 2 + other**2).astype(np.float32)
        yield name, Volume(noisy, np.diag([2.0, 2.0, 2.0, 1.0]))


def print_strangers() -> None:
    """Print what the map says of each, and whether it is refused."""
    for name, volume in strangers():
        measures = map_checks.measure(head.map_head(volume, voxel=map_checks.VOXEL, mirrored=False))
        refused = "refused" if measures["entropy"] > map_checks.NO_HEAD else "NOT refused"
        print(f"{name:24}{refused:12}", {k: round(v, 3) for k, v in measures.items()}, flush=True)


def main() -> None:
    """Read the options and print the tables."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=root.parent / "shared/data")
    add("--table", nargs="+", default=["regions", "levels", "implausible", "strangers"])
    add("--heads", nargs="+", help="only these")
    add("--voxel", type=float, default=2.0, help="mm of the fine look")
    add("--mirrored", action="store_true", help="look at the mirror image, too")
    add("--threads", type=int, default=1)
    add("--atlas", action=argparse.BooleanOptionalAction, default=True, help="beside the atlas")
    add("--cache", type=Path, help="keep the placed atlas here")
    args = parser.parse_args()
    with threadpool_limits(1):
        if "strangers" in args.table:
            print_strangers()
        if set(args.table) - {"strangers"}:
            tables(args)


if __name__ == "__main__":
    main()
