"""What a spatial prior is worth to the tissue fit, in mm by which the truth is blurred.

    python pipelines/evaluate_priors.py --data ../shared/data [--only oasis brainweb held_out]

The same fit is led by several maps: none; the truth, blurred by a Gaussian of 1.5 to 4 mm standard
deviation; the placed atlas; the head network; and both pooled, as a run has it. Printed are Dice of
grey and white matter of each fit, and of the map alone (its largest tissue), so that it shows what
the mixture adds. A map is worth the blur whose line it reaches. *oasis* are four brains with manual
labels, *brainweb* a simulated scan of 2 mm, *held_out* scans drawn from the label maps that the
network was not trained on (the atlas was built from them, so it is not judged there).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from evaluate_accuracy import ROOT, TRUTH_OF_THREE, Case, brainweb, held_out, oasis
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits

from brainseg.anatomy.head import map_head, regions
from brainseg.anatomy.map_checks import VOXEL
from brainseg.anatomy.prior import pooled
from brainseg.atlas.head_atlas import BRAIN, load_atlas
from brainseg.atlas.placing import place_atlas
from brainseg.tissues import tables
from brainseg.tissues.fit import FitOptions, fit_tissues

BLURS_MM = (1.5, 2.0, 2.5, 3.0, 4.0)
# CSF, grey and white by the classes of the head atlas.
TISSUE = np.array(
    [{"csf": 1, "cortical_grey": 2, "deep_grey": 2, "cerebellar_grey": 2}.get(c, 3) for c in BRAIN]
)
# CSF, grey and white by the labels of the six tissues.
THREE_OF_SIX = np.array([0, 1, 2, 3, 2, 3, 2], np.uint8)


def blurred(truth: NDArray[np.uint8], case: Case, sd: float) -> NDArray[np.float32]:
    """Blur the truth inside the mask into a map of the atlas' classes, shape (7, n_mask)."""
    out = np.zeros((len(BRAIN), np.count_nonzero(case.mask)), np.float32)
    for k, name in enumerate(("csf", "cortical_grey", "white")):
        share = (truth == k + 1).astype(np.float32)
        smooth = ndimage.gaussian_filter(share, sd / np.array(case.volume.zooms))
        out[BRAIN.index(name)] = smooth[case.mask]
    return out / np.maximum(out.sum(axis=0), 1e-6)


def maps(
    case: Case, truth: NDArray[np.uint8], *, with_atlas: bool
) -> Iterator[tuple[str, NDArray[np.float32] | None]]:
    """Yield the priors of the table."""
    yield "none", None
    for sd in BLURS_MM:
        yield f"truth, {sd:g} mm", blurred(truth, case, sd)
    seen = map_head(case.volume, voxel=VOXEL, mirrored=False)
    ours = regions(seen, case.volume, case.mask)
    yield "network", ours
    if with_atlas:
        atlas = place_atlas(case.volume, case.mask)
        if atlas is not None:
            yield "atlas", atlas
            yield "pooled", pooled(atlas, ours)


def judged(case: Case, prior: NDArray[np.float32] | None) -> list[float]:
    """Dice of grey and white by fit and by the map alone."""
    fit = fit_tissues(
        case.volume.data,
        case.mask,
        case.volume.zooms,
        table=tables.THREE,
        options=FitOptions(prior="tied"),
        spatial_prior=prior,
    )
    found = [TRUTH_OF_THREE[fit.three_labels]]
    if prior is not None:
        found.append(TISSUE[prior.argmax(axis=0)].astype(np.uint8))
    out = []
    for labels in found:
        score = case.score(labels)
        out += [score.get("GM+sulci", score["GM"]), score["WM"]]
    return out + [np.nan] * (4 - len(out))


def three(case: Case) -> Case:
    """Return the case with a truth of CSF, grey and white everywhere inside the mask."""
    if case.table != "six":
        return case
    names = {"CSF": 1, "GM": 2, "WM": 3}
    return Case(case.name, case.volume, case.mask, THREE_OF_SIX[case.truth], names)


def main() -> None:
    """Print a table for each set of scans."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    sets = ("oasis", "brainweb", "held_out")
    parser.add_argument("--only", nargs="*", default=sets, choices=sets)
    args = parser.parse_args()
    with threadpool_limits(1):
        for name in args.only:
            makers = {"oasis": oasis, "brainweb": brainweb}
            scans = makers[name](args.data) if name in makers else held_out(args.data, load_atlas())
            rows: dict[str, list[list[float]]] = {}
            for scan in scans:
                case = three(scan)
                # OASIS leaves the outermost CSF without a label.
                truth = np.where(case.mask & (case.truth == 0), 1, case.truth).astype(np.uint8)
                for way, prior in maps(case, truth, with_atlas=name != "held_out"):
                    rows.setdefault(way, []).append(judged(case, prior))
            n = len(next(iter(rows.values())))
            print(f"\n{name}: mean Dice of {n}")
            print(f"{'prior':16}{'GM':>8}{'WM':>8}   alone{'GM':>8}{'WM':>8}")
            for way, scores in rows.items():
                gm, wm, *alone = np.mean(scores, axis=0)
                told = "".join(f"{v:8.4f}" for v in alone) if np.isfinite(alone).all() else ""
                print(f"{way:16}{gm:8.4f}{wm:8.4f}        {told}", flush=True)


if __name__ == "__main__":
    main()
