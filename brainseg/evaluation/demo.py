"""The synthetic head as files, and the demonstration that segments it and compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainseg.config import SegmentConfig
from brainseg.core.metrics import compare
from brainseg.core.steps import Steps
from brainseg.core.volume import Array
from brainseg.errors import CannotCreateError
from brainseg.evaluation.comparison import as_table
from brainseg.evaluation.phantom import Phantom, make_phantom
from brainseg.io import derivatives, grids, lookups, nifti
from brainseg.io.derivatives import Target
from brainseg.io.staging import Encoder
from brainseg.run import Job, plain_target, run_scan
from brainseg.tissues.tables import SIX, THREE

PREFIX = "phantom"


def write_head(head: Phantom, out: Path, *, contrast: str, force: bool = False) -> list[Path]:
    """Write a synthetic head and its truth: scan, six and three tissues, mask and bias field.

    Raises
    ------
    CannotCreateError, OutputError
    """
    target = Target(out, out, PREFIX, contrast, f"{PREFIX}_{contrast}.nii.gz")
    scan = target.path(f"{contrast}.nii.gz")
    if scan.exists() and not force:
        raise CannotCreateError(
            f"{scan.name}: is in {out.name}/ already; add `force` to overwrite it"
        )
    grid = grids.grid_of(head.volume)

    def image(data: Array, intent: str = "none") -> Encoder:
        return lambda: nifti.compress(nifti.image_bytes(data, grid, intent=intent))

    return derivatives.write_files(
        target,
        {
            "desc-truth_mask.nii.gz": image(head.mask.astype(np.uint8), "label"),
            "desc-truth_bias.nii.gz": image(head.bias.astype(np.float32)),
            "seg-truesix_dseg.nii.gz": image(head.six, "label"),
            "seg-truesix_dseg.tsv": lookups.label_table(SIX).encode,
            "seg-true_dseg.nii.gz": image(head.three, "label"),
            "seg-true_dseg.tsv": lookups.label_table(THREE).encode,
            f"{contrast}.nii.gz": image(head.volume.data.astype(np.float32)),
        },
        update=True,
    )


def run(
    out: Path, config: SegmentConfig, *, force: bool, report: bool, steps: Steps | None = None
) -> str:
    """Make a head, segment it as any scan, and return a table of the agreement with its truth."""
    steps = steps or Steps()
    with steps.step("Synthetic head"):
        head = make_phantom(seed=config.seed)
        write_head(head, out, contrast="T1w", force=force)
    path = out / f"{PREFIX}_T1w.nii.gz"
    result = run_scan(
        Job(path, plain_target(path, out)), config, force=force, report=report, steps=steps
    ).result
    zooms = head.volume.zooms
    rows = compare(result.mask, head.mask, {"brain": ((1,), (1,))}, zooms=zooms)
    if result.table is SIX:
        six = {t.abbreviation: ((t.index,), (t.index,)) for t in SIX.tissues}
        rows += compare(result.labels, head.six, six, zooms=zooms)
    three = {f"{t.abbreviation} (of three)": ((t.index,), (t.index,)) for t in THREE.tissues}
    rows += compare(result.three_labels, head.three, three, zooms=zooms)
    return as_table(rows)
