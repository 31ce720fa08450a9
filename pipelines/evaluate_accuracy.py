"""Dice of every option of the tissue fit on manual labels and on phantoms.

    python pipelines/evaluate_accuracy.py [--only oasis brainweb phantoms regions] [-v]

Each line is one set of options on one set of scans: mean, median and worst Dice of each tissue.
Masks are given, so that only the tissues are judged.

- *oasis*: four adults with manual labels. These call sulcal CSF grey matter and leave the outermost
  CSF of the mask without a label, so CSF is not scored, and grey in two ways. "GM": the boundary
  class of CSF and grey counts as grey, all else as it stands (tables without such a class get no
  help). "GM+sulci": all CSF counts as grey but within `NEAR_MM` of the truth's own (the
  ventricles), and voxels without a label are not scored.
- *brainweb*: a simulated noisy T1w at 2 mm; the truth is the largest of its fuzzy tissues.
- *phantoms*: scans drawn here from BrainWeb's crisp labels (`CONTRASTS`, a point spread of
  `BLUR_MM`, a smooth random gain, Rician noise), T1w alone and with other contrasts.
- *regions*: the six tissues of T1w scans drawn here from the label maps `HELD_OUT`, the head atlas
  being built anew from the other maps (about ten minutes, then kept in --cache).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import build_atlas
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits

from brainseg.anatomy.head import map_head, regions
from brainseg.anatomy.map_checks import VOXEL
from brainseg.anatomy.prior import pooled
from brainseg.atlas.head_atlas import Atlas, load_atlas, read_atlas, write_atlas
from brainseg.atlas.placing import place_atlas
from brainseg.core.metrics import dice
from brainseg.core.volume import BoolArray, Volume
from brainseg.evaluation.phantom import bias_field, rician
from brainseg.io import nifti
from brainseg.tissues import tables
from brainseg.tissues.fit import FitOptions, TissueFit, fit_tissues

ROOT = Path(__file__).resolve().parents[1]
NEAR_MM = 2.0
BLUR_MM = 0.45
HELD_OUT = (5, 9, 14, 18)

# Options that differ from what `brainseg run` does when nothing is said. The table is that of
# intensities, whose boundary of CSF and grey the manual labels call grey; it is the same fit.
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "--bias n4": {"bias": "n4"},
    "--bias none": {"bias": "none"},
    "--smooth 0": {"smooth": 0.0},
    "--prior tied": {"prior": "tied"},
    "--prior none": {"prior": "none"},
    "--prior none --bias none --smooth 0": {"prior": "none", "bias": "none", "smooth": 0.0},
    "--tissues three": {"table": "three"},
}

# Means of CSF, grey, white relative to the brightest tissue: spin echo at 1.5 T.
CONTRASTS = {
    "T1w": (0.22, 0.62, 1.0),
    "T2w": (1.0, 0.55, 0.40),
    "PDw": (0.80, 1.0, 0.80),
    "FLAIR": (0.12, 1.0, 0.78),
}

# Intensities of FreeSurfer's structures on a T1w scan, white matter 1. They scatter by
# `STRUCTURE_SD` from head to head.
STRUCTURES = {
    0.22: build_atlas.CODES["csf"],
    0.62: (3, 42, 8, 47, 17, 18, 53, 54),
    1.0: build_atlas.CODES["white"],
    0.80: (10, 49),
    0.68: (11, 50, 26, 58),
    0.73: (12, 51),
    0.88: (13, 52, 28, 60),
    0.93: (16,),
    0.97: (7, 46),
}
STRUCTURE_SD = 0.02
# The truths have 1 CSF, 2 GM, 3 WM.
TRUTH_OF_THREE = np.array([0, 2, 3, 1], np.uint8)


@dataclass(frozen=True, eq=False)
class Case:
    """One scan with its mask and truth."""

    name: str
    volume: Volume
    mask: BoolArray
    truth: NDArray[np.uint8]
    names: Mapping[str, int]
    table: str = "three"
    sulci_are_grey: bool = False
    channels: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    atlas: Atlas | None = None
    _placed: list[NDArray[np.float32] | None] = field(default_factory=list)

    def placed(self) -> NDArray[np.float32] | None:
        """Say where each tissue is expected, as `spatial_prior` does, once for all options."""
        if not self._placed:
            atlas = place_atlas(self.volume, self.mask, atlas=self.atlas)
            seen = map_head(self.volume, voxel=VOXEL, mirrored=False)
            ours = regions(seen, self.volume, self.mask)
            self._placed.append(ours if atlas is None else pooled(atlas, ours))
        return self._placed[0]

    def fit(self, *, table: str = "intensity", prior: str = "atlas", **options: Any) -> TissueFit:
        """Fit as `brainseg.pipeline` does."""
        return fit_tissues(
            self.volume.data,
            self.mask,
            self.volume.zooms,
            table=tables.table(table),
            options=FitOptions(prior="none" if prior == "none" else "tied", **options),
            spatial_prior=self.placed() if prior == "atlas" else None,
            channels=self.channels,
        )

    def scores(self, fit: TissueFit, table: str) -> dict[str, float]:
        """Dice of each tissue that the truth knows."""
        own = table == self.table
        found = fit.labels if own else fit.three_labels
        if table == "three" or not own:
            found = TRUTH_OF_THREE[found]
        boundary = fit.labels == 2 if table == "intensity" else np.zeros(found.shape, bool)
        return self.score(found, boundary)

    def score(
        self, found: NDArray[np.uint8], boundary: NDArray[np.bool_] | None = None
    ) -> dict[str, float]:
        """Dice of labels inside the mask, shape (n_mask,), whoever made them.

        `boundary` says which of them are of a class between CSF and grey, for truths that call
        sulcal CSF grey.
        """
        truth = self.truth[self.mask]
        if not self.sulci_are_grey:
            return {name: dice(found == k, truth == k) for name, k in self.names.items()}
        fluid = (found == 1) if boundary is None else (found == 1) & ~boundary
        far = ndimage.distance_transform_edt(self.truth != 1, self.volume.zooms) > NEAR_MM
        sulci = (found == 1) & far[self.mask]
        labelled = truth > 0
        return {
            "GM": dice((found <= 2) & ~fluid, truth == 2),
            "GM+sulci": dice(((found == 2) | sulci)[labelled], (truth == 2)[labelled]),
            "WM": dice(found == 3, truth == 3),
        }


def oasis(data: Path) -> Iterator[Case]:
    """Yield the brains with manual labels."""
    for path in sorted((data / "truth" / "oasis").glob("*_SS.nii.gz")):
        number = path.name.split("_")[0]
        scan = nifti.load(path)
        mask, truth = (
            nifti.load_labels(path.with_name(f"{number}_{part}.nii.gz"), reference=scan)[0].data
            for part in ("mask", "classified")
        )
        names = {"GM": 2, "GM+sulci": 2, "WM": 3}
        yield Case(number, scan.volume, mask > 0, truth, names, sulci_are_grey=True)


def brainweb(data: Path) -> Iterator[Case]:
    """Yield the simulated scan at 2 mm."""
    folder = data / "truth" / "brainweb_2mm"
    scan = nifti.load(folder / "t1.nii.gz")
    truth = nifti.load_labels(folder / "labels_csf1_gm2_wm3.nii.gz", reference=scan)[0].data
    yield Case("brainweb 2 mm", scan.volume, truth > 0, truth, {"CSF": 1, "GM": 2, "WM": 3})


def phantom(data: Path, *, noise: float, bias: float, contrasts: tuple[str, ...]) -> Case:
    """Draw a scan from BrainWeb's crisp labels; noise and bias in per cent."""
    path = data / "truth" / "brainweb_crisp_1mm.nii.gz"
    labels = nifti.load_labels(path)[0]
    codes = labels.data
    # Glial matter (8) is a handful of voxels around the ventricles.
    truth = np.where(codes == 8, 2, np.where(codes <= 3, codes, 0)).astype(np.uint8)
    scans = {
        name: scanned(
            np.array([0, *CONTRASTS[name]], np.float32)[truth], labels.zooms, noise, bias, seed
        )
        for seed, name in enumerate(contrasts)
    }
    first = scans.pop("T1w")
    name = f"{'+'.join(contrasts)} noise {noise:g} % bias {bias:g} %"
    volume = Volume(first, labels.affine)
    return Case(name, volume, truth > 0, truth, {"CSF": 1, "GM": 2, "WM": 3}, channels=scans)


def scanned(
    clean: NDArray[np.float32],
    zooms: tuple[float, float, float],
    noise: float,
    bias: float,
    seed: int,
) -> NDArray[np.float32]:
    """Blur, shade and add noise.

    Noise is in per cent of the brightest tissue, bias the range of the gain within the brain, as
    BrainWeb counts them.
    """
    field_rng, noise_rng = (np.random.default_rng([seed, k]) for k in range(2))
    blurred = ndimage.gaussian_filter(clean, BLUR_MM / np.array(zooms), truncate=3.0)
    gain = bias_field(field_rng, clean.shape, 100)
    low, high = gain[clean > 0].min(), gain[clean > 0].max()
    gain = 1 + bias / 100 * ((gain - low) / (high - low) - 0.5)
    return 1000 * rician(blurred * gain, noise / 100, noise_rng)


def held_out(data: Path, atlas: Atlas) -> Iterator[Case]:
    """Yield T1w scans drawn from the label maps that the atlas has not seen."""
    means = np.zeros(1024, np.float32)
    names = {"CSF": 1, "CGM": 2, "WM": 3, "SGM": 4, "BS": 5, "CBM": 6}
    # Classes of the atlas to tissues of the table; the two cerebellar ones are one.
    tissue = np.array([1, 2, 3, 4, 5, 6, 6, 0, 0, 0], np.uint8)
    for number in HELD_OUT:
        rng = np.random.default_rng(number)
        for level, codes in STRUCTURES.items():
            means[list(codes)] = level + STRUCTURE_SD * rng.standard_normal()
        path = data / "labelmaps" / f"training_seg_{number:02d}.nii.gz"
        labels = nifti.load_labels(path)[0]
        truth = tissue[build_atlas.read_classes(path)]
        clean = np.where(truth > 0, means[labels.data], 0).astype(np.float32)
        data_ = scanned(clean, labels.zooms, 3, 20, number)
        volume = Volume(data_, labels.affine)
        yield Case(path.name, volume, truth > 0, truth, names, table="six", atlas=atlas)


def without_held_out(data: Path, cache: Path) -> Atlas:
    """Return an atlas of the other label maps, built once."""
    if not cache.exists():
        paths = sorted((data / "labelmaps").glob("training_seg_*.nii.gz"))
        seen = [p for p in paths if int(p.name.split("_")[2][:2]) not in HELD_OUT]
        heads = [build_atlas.fractions(build_atlas.read_classes(p)) for p in seen]
        matrices, mean = build_atlas.groupwise_affine(heads, rounds=2)
        atlas = build_atlas.groupwise_warp(heads, matrices, mean)
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atlas(cache, atlas.probabilities, atlas.template, build_atlas.ZOOM)
    return read_atlas(cache)


def evaluate(
    title: str, cases: list[Case], options: Mapping[str, dict[str, Any]], *, verbose: bool
) -> None:
    """Print one line of scores for each set of options."""
    names = list(cases[0].names)
    print(f"\n{title}: mean / median / worst Dice of {len(cases)}")
    print(f"{'':<38}" + "".join(f"{name:<24}" for name in names))
    for option, chosen in options.items():
        rows = []
        for case in cases:
            table = chosen.get("table", "intensity")
            found = case.scores(case.fit(**chosen), table)
            rows.append([found[name] for name in names])
            if verbose:
                print(f"    {case.name:<34}" + "".join(f"{v:<24.4f}" for v in rows[-1]))
        score = np.array(rows)
        cells = zip(score.mean(axis=0), np.median(score, axis=0), score.min(axis=0), strict=True)
        line = "".join(f"{a:.3f} / {b:.3f} / {c:.3f}   " for a, b, c in cells)
        print(f"{option:<38}{line}", flush=True)


def evaluate_phantoms(
    data: Path,
    chosen: Mapping[str, dict[str, Any]],
    levels: tuple[list[float], list[float]],
    *,
    verbose: bool,
) -> None:
    """Print the scores under noise and bias, and with further contrasts at the worst of both."""
    title = "phantom {}".format
    for noise in levels[0]:
        for bias in levels[1]:
            case = phantom(data, noise=noise, bias=bias, contrasts=("T1w",))
            extreme = (noise, bias) in ((0, 0), (9, 40))
            options = {k: v for k, v in chosen.items() if extreme or k == "default"}
            evaluate(title(case.name), [case], options, verbose=verbose)
    for more in (("T2w",), ("T2w", "PDw"), ("FLAIR",), ("T2w", "FLAIR")):
        case = phantom(data, noise=levels[0][-1], bias=levels[1][-1], contrasts=("T1w", *more))
        evaluate(title(case.name), [case], {"default": {}}, verbose=verbose)


def main() -> None:
    """Parse the options and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "held_out_atlas.npz")
    sets = ("oasis", "brainweb", "phantoms", "regions")
    parser.add_argument("--only", nargs="*", default=sets, choices=sets)
    parser.add_argument("--options", nargs="*", choices=list(OPTIONS), help="only these lines")
    parser.add_argument("--noise", nargs="*", type=float, default=[0, 3, 5, 7, 9], help="per cent")
    parser.add_argument("--bias", nargs="*", type=float, default=[0, 20, 40], help="per cent")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every scan")
    args = parser.parse_args()
    options = {k: v for k, v in OPTIONS.items() if not args.options or k in args.options}
    load_atlas()
    with threadpool_limits(1):
        if "oasis" in args.only:
            title = "OASIS, manual labels"
            evaluate(title, list(oasis(args.data)), options, verbose=args.verbose)
        if "brainweb" in args.only:
            cases = list(brainweb(args.data))
            evaluate("BrainWeb at 2 mm", cases, options, verbose=args.verbose)
        if "phantoms" in args.only:
            evaluate_phantoms(args.data, options, (args.noise, args.bias), verbose=args.verbose)
        if "regions" in args.only:
            atlas = without_held_out(args.data, args.cache)
            cases = list(held_out(args.data, atlas))
            table = {"--tissues six": {"table": "six"}}
            title = "label maps held out of the atlas"
            evaluate(title, cases, table, verbose=args.verbose)


if __name__ == "__main__":
    main()
