"""Judge the six tissues on real heads with parcellations.

    python pipelines/evaluate_regions.py --data ../shared/data [--heads fs001 nc01] [--cache DIR]

For each head of ``anatomy/``: Dice of the labels with its automatic
parcellation, Dice of the spatial prior alone (its largest class), and what the prior's check said.
Then how far CSF, grey and white matter of ``six`` and ``three`` are apart, which is to be
nothing: they are one fit. Masks are the default route's. The conventions of the parcellations
differ: MUSE counts the peduncles to the cerebellum, FreeSurfer to the stem.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from evaluate_network import REGIONS, Case, cases, scores
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainseg.anatomy import map_checks
from brainseg.anatomy.brain import extract_brain
from brainseg.anatomy.prior import spatial_prior
from brainseg.core.metrics import dice
from brainseg.core.volume import BoolArray
from brainseg.tissues import tables
from brainseg.tissues.fit import fit_tissues

LABELS = {"deep_grey": 4, "brain_stem": 5, "cerebellum": 6, "white": 3, "cortical_grey": 2}


def found(case: Case, cache: Path | None) -> tuple[BoolArray, NDArray[np.float32], str]:
    """Return mask, spatial prior and note as a run has them; kept in `cache` if there is one."""
    kept = cache / f"prior_{case.name}.npz" if cache else None
    if kept and kept.exists():
        with np.load(kept) as z:
            return z["mask"], z["prior"], str(z["note"])
    brain = extract_brain(case.volume)
    seen, doubt = map_checks.look(case.volume)
    prior, note = spatial_prior(case.volume, brain.mask, seen, doubt)
    if prior is None:
        raise SystemExit(f"{case.name}: no spatial prior")
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, mask=brain.mask, prior=prior, note=note)
    return brain.mask, prior, note


def arguments(text: str) -> argparse.Namespace:
    """Read which heads are wanted, and where they lie; `text` is the docstring of the script."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data")
    parser.add_argument("--heads", nargs="+", help="only these")
    parser.add_argument("--cache", type=Path, help="keep masks and priors here")
    return parser.parse_args()


def main() -> None:
    """Print a line for each head, then median and least."""
    args = arguments(__doc__)
    rows: dict[str, list[list[float]]] = {"labels": [], "prior": []}
    print(f"{'':18}" + "".join(f"{r:>15}" for r in LABELS))
    with threadpool_limits(1):
        for case in cases(args.data, args.heads):
            mask, prior, note = found(case, args.cache)
            fits = {
                name: fit_tissues(
                    case.volume.data,
                    mask,
                    case.volume.zooms,
                    table=tables.table(name),
                    spatial_prior=prior,
                )
                for name in ("three", "six")
            }
            labels = np.zeros(mask.shape, np.uint8)
            labels[mask] = fits["six"].labels
            ours = [dice(labels == code, case.truth[r]) for r, code in LABELS.items()]
            alone = dict(zip(REGIONS, scores(case, prior, mask), strict=True))
            for kind, row in (("labels", ours), ("prior", [alone[r] for r in LABELS])):
                rows[kind].append(row)
                print(f"{case.name:9}{kind:9}" + "".join(f"{v:>15.3f}" for v in row), flush=True)
            ml = [f.fractions.sum(axis=0, dtype=np.float64) for f in fits.values()]
            apart = np.abs(ml[1] / ml[0] - 1).max()
            print(f"{'':9}volumes of `three` differ by {apart:.3%}; {note or 'no warning'}")
    for kind, values in rows.items():
        table = np.array(values)
        cells = zip(np.median(table, axis=0), table.min(axis=0), strict=True)
        print(f"{kind:18}" + "".join(f"{f'{a:.3f} / {b:.3f}':>15}" for a, b in cells))


if __name__ == "__main__":
    main()
