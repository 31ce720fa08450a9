"""How far a few seeds move the volumes of a real head: its own labels should tell it nothing new.

    python pipelines/evaluate_seeds.py --data ../shared/data [--heads fs001 nc01] [--cache DIR]

Each head of ``anatomy/`` is segmented; then again with a part of its own labels as seeds: 2 % of
the voxels at random, and one axial slice through the middle of the brain. Printed is the change of
each tissue's volume in per cent of the volume without seeds; 3 % is the limit.
"""

from __future__ import annotations

import numpy as np
from evaluate_network import cases
from evaluate_regions import arguments, found
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainseg.core import masking
from brainseg.core.volume import BoolArray
from brainseg.tissues import tables
from brainseg.tissues.fit import FitOptions, fit_tissues
from brainseg.tissues.seeds import known_tissues

LIMIT = 3.0


def seeds(labels: NDArray[np.uint8], mask: BoolArray) -> dict[str, NDArray[np.uint8]]:
    """Choose seeds among the labels of a label map, shape (I, J, K)."""
    some = np.random.default_rng(0).random(mask.shape) < 0.02
    box = masking.bounding_box(mask)
    middle = np.zeros(mask.shape, bool)
    middle[:, :, (box[2].start + box[2].stop) // 2] = True
    return {"2 % at random": labels * some, "one slice": labels * middle}


def main() -> None:
    """Print a line for each head, table and choice of seeds."""
    args = arguments(__doc__)
    worst = 0.0
    with threadpool_limits(1):
        for case in cases(args.data, args.heads):
            mask, prior, _ = found(case, args.cache)
            scan = case.volume.data, mask, case.volume.zooms
            for name in ("three", "six"):
                table = tables.table(name)
                plain = fit_tissues(*scan, table=table, spatial_prior=prior)
                before = plain.responsibilities.sum(axis=0, dtype=np.float64)
                labels = masking.scatter(plain.labels, mask)
                for kind, chosen in seeds(labels, mask).items():
                    options = FitOptions(seeds=known_tissues(chosen, mask, table))
                    fit = fit_tissues(*scan, table=table, options=options, spatial_prior=prior)
                    change = 100 * (fit.responsibilities.sum(axis=0, dtype=np.float64) / before - 1)
                    worst = max(worst, float(np.abs(change).max()))
                    cells = zip(table.tissues, change, strict=True)
                    told = "  ".join(f"{t.abbreviation} {c:+5.2f}" for t, c in cells)
                    print(f"{case.name:8}{name:7}{kind:15}{told}", flush=True)
    print(f"largest change {worst:.2f} %; the limit is {LIMIT:g} %")


if __name__ == "__main__":
    main()
