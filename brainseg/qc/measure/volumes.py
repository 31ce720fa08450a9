"""The volumes of a scan as a table to take home, and what each of its columns means."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import numpy as np
from scipy import ndimage

from brainseg.core import masking
from brainseg.core.volume import Array, BoolArray
from brainseg.qc.measure import intracranial
from brainseg.qc.measure.halves import find_midplane
from brainseg.qc.measure.subject import Subject
from brainseg.tissues.shells import INTRACRANIAL
from brainseg.tissues.tables import HEAD, THREE

NO_SIDES = "no orientation"
"""In the warning of a scan whose header does not say which side is left."""
LESION = 0.5
"""Probability from which a voxel counts to a lesion."""
SMALLEST_LESION_ML = 0.01
MISSING = "n/a"
BRAIN, TIV, MASK, LESIONS = "brain", "tiv", "mask", "lesions"
INSIDE = "total_intracranial_volume"
"""With the table `HEAD` only: there it is measured, and `TIV` is an estimate as in every table."""


@dataclass(frozen=True)
class Row:
    """One structure of a scan. Attributes are the columns of the table; None is missing.

    `COLUMNS` says what each is.
    """

    structure: str
    name: str
    volume_ml: float
    left_ml: float | None = None
    right_ml: float | None = None
    asymmetry: float | None = None
    tiv_fraction: float | None = None
    mean: float | None = None
    sd: float | None = None
    count: int | None = None


COLUMNS: dict[str, tuple[str, str]] = {
    "structure": (
        "What is measured. CSF, GM and WM are the three tissues; TABLE_ABBR is a tissue of the "
        "table that was asked for, for example six_SGM; brain is GM and WM; mask is the brain "
        "mask; tiv an estimate of the total intracranial volume; total_intracranial_volume that "
        "volume as measured (with the table head only); lesions the candidates (with a FLAIR scan "
        "only), or those of a mask that was given",
        "",
    ),
    "name": ("Its name in words", ""),
    "volume_ml": (
        "Volume. Of tissues the sum of their share in every voxel, of mask its voxels, of lesions "
        f"the sum of their probability; tiv is an {intracranial.WHAT}; "
        f"total_intracranial_volume is {INTRACRANIAL}",
        "mL",
    ),
    "left_ml": (
        "The part to the left of the plane in which the brain is most like its mirror image",
        "mL",
    ),
    "right_ml": ("The part to the right of that plane", "mL"),
    "asymmetry": ("2 (left - right) / (left + right); 0 is symmetric, above 0 left is larger", ""),
    "tiv_fraction": (
        "Volume over tiv; that of brain is the brain parenchymal fraction",
        "",
    ),
    "mean": (
        "Mean intensity of the scan, corrected for bias where that was asked for, weighted by the "
        "share of each voxel; in the scan's own units",
        "",
    ),
    "sd": ("Standard deviation of the same", ""),
    "count": (
        f"Number of lesions: connected voxels of probability {LESION:g} or more that hold at least "
        f"{SMALLEST_LESION_ML * 1000:g} cubic mm together",
        "",
    ),
}


def measure_volumes(subject: Subject) -> list[Row]:
    """Measure every structure of a scan, the three tissues first.

    Halves are missing where the header does not tell left from right, or nothing is grey or white.
    """
    unit = subject.volume.voxel_volume
    three = {t.abbreviation: subject.fractions[:, k] for k, t in enumerate(THREE.tissues)}
    tissue = three["GM"] + three["WM"]
    left = _left(subject, tissue)
    head = subject.record.get("head")
    tiv = intracranial.intracranial_ml(subject.mask, subject.volume.zooms)
    values = subject.samples

    def row(structure: str, name: str, share: Array, *, intensity: bool = True) -> Row:
        volume = float(share.sum(dtype=np.float64)) * unit
        mean = sd = None
        if intensity and volume > 0:
            mean, sd = _moments(values, share)
        ours = None if left is None else float(share[left].sum(dtype=np.float64)) * unit
        theirs = None if ours is None else volume - ours
        uneven = (
            None if ours is None or theirs is None or volume == 0 else 2 * (ours - theirs) / volume
        )
        return Row(structure, name, volume, ours, theirs, uneven, volume / tiv, mean, sd)

    rows = [row(t.abbreviation, t.name, three[t.abbreviation]) for t in THREE.tissues]
    if subject.table != THREE:
        rows += [
            row(f"{subject.table.name}_{t.abbreviation}", t.name, subject.responsibilities[:, k])
            for k, t in enumerate(subject.table.tissues)
        ]
    if head is not None:
        rows += [
            Row(f"{HEAD.name}_{t.abbreviation}", t.name, head["volumes_ml"][t.abbreviation])
            for t in HEAD.tissues
        ]
    rows.append(row(BRAIN, "Brain (grey and white matter)", tissue))
    whole = np.ones(len(values), dtype=np.float32)
    rows.append(row(MASK, "Brain mask", whole, intensity=False))
    rows.append(Row(TIV, "Total intracranial volume (estimate)", tiv, tiv_fraction=1.0))
    if head is not None:
        measured = float(head["total_intracranial_volume_ml"])
        name = "Total intracranial volume (inside the inner table of the skull)"
        rows.append(Row(INSIDE, name, measured, tiv_fraction=measured / tiv))
    if subject.lesions is not None:
        name = "Lesions (given)" if "lesion_mask_ml" in subject.record else "Lesion candidates"
        found = row(LESIONS, name, subject.lesions)
        number = count_lesions(masking.scatter(subject.lesions, subject.mask), unit)
        rows.append(replace(found, count=number))
    return rows


def count_lesions(probability: Array, voxel_ml: float) -> int:
    """Count connected pieces (also across edges and corners) that are large enough.

    Parameters
    ----------
    probability : ndarray, shape (I, J, K)
    voxel_ml : float
        Volume of a voxel in mL.
    """
    pieces, _ = ndimage.label(probability >= LESION, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())[1:] * voxel_ml
    return int((sizes > SMALLEST_LESION_ML - 1e-9).sum())


def as_tsv(rows: list[Row]) -> str:
    """Write the rows as a BIDS table: tabs, one header line, ``n/a`` where there is nothing."""
    lines = ["\t".join(f.name for f in fields(Row))]
    lines += ["\t".join(_cell(v) for v in astuple(row)) for row in rows]
    return "\n".join(lines) + "\n"


def dictionary() -> str:
    """Return the JSON that explains the columns of the table."""
    content = {
        name: {"Description": what} | ({"Units": unit} if unit else {})
        for name, (what, unit) in COLUMNS.items()
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _left(subject: Subject, tissue: Array) -> BoolArray | None:
    if any(NO_SIDES in warning for warning in subject.record["warnings"]):
        return None
    zooms = subject.volume.zooms
    try:
        plane = find_midplane(masking.scatter(tissue, subject.mask), zooms)
    except ValueError:
        return None
    return plane.is_left(subject.mask, zooms)


def _moments(values: Array, share: Array) -> tuple[float, float]:
    weights = share.astype(np.float64)
    mean = float(np.average(values, weights=weights))
    variance = float(np.average((values.astype(np.float64) - mean) ** 2, weights=weights))
    return mean, variance**0.5


def _cell(value: Any) -> str:
    if value is None:
        return MISSING
    return f"{value:.6g}" if isinstance(value, float) else str(value)
