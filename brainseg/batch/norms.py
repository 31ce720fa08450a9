"""How unusual each scan's volumes are within its own study, head size, age and sex accounted for.

No norms of other people's scanners are brought in: a study is compared with itself.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from brainseg.errors import DataError, NoInputError
from brainseg.io import documents

MAD_TO_SD = 1.4826
FEWEST = 5
"""Scans below which no number says what is usual."""
FEWEST_ADJUSTED = 10
"""Scans from which volumes are adjusted: a line through fewer follows the odd ones."""
COVERED = 0.8
"""Share of scans whose age or sex must be known for it to be used; the rest get the median."""
UNUSUAL = 3.5
"""Robust z beyond which a volume is flagged (Iglewicz & Hoaglin 1993)."""
TIV = "volume_tiv"


@dataclass(frozen=True)
class Participants:
    """What ``participants.tsv`` says.

    Attributes
    ----------
    columns : tuple of str
        Without ``participant_id``.
    rows : mapping
        ``sub-01`` to column to text; ``n/a`` and empty cells are absent.
    """

    columns: tuple[str, ...] = ()
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Described:
    """What is read of a ``dataset_description.json`` of derivatives."""

    DatasetLinks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Norms:
    """Robust z of each volume of each scan.

    Attributes
    ----------
    z : mapping
        Scan to key to z.
    adjusted : tuple of str
        What was accounted for, in words: ``TIV``, ``age``, ``sex``.
    notes : tuple of str
        What was left out, and why.
    """

    z: Mapping[str, Mapping[str, float]]
    adjusted: tuple[str, ...]
    notes: tuple[str, ...]


def read_participants(path: Path) -> Participants:
    """Read a ``participants.tsv``.

    Raises
    ------
    NoInputError
        When it cannot be read.
    DataError
        When it has no column ``participant_id``.
    """
    try:
        text = documents.read_bytes(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NoInputError(f"{path.name}: cannot be read ({error.__class__.__name__})") from error
    # A field that is longer than this is none, and the reader would end with an error of its own.
    lines = [line for line in text.splitlines() if len(line) < csv.field_size_limit()]
    reader = csv.DictReader(lines, delimiter="\t")
    columns = [name for name in reader.fieldnames or () if name]
    if "participant_id" not in columns:
        raise DataError(f"{path.name}: has no column participant_id; its columns: {columns}")
    rows = {}
    for row in reader:
        name = str(row.get("participant_id") or "")
        known = {k: v for k in columns if (v := row.get(k)) and v != "n/a"}
        known.pop("participant_id", None)
        rows[name if name.startswith("sub-") else f"sub-{name}"] = known
    return Participants(tuple(c for c in columns if c != "participant_id"), rows)


def find_participants(out: Path, dataset: Path | None = None) -> Path | None:
    """Return the ``participants.tsv`` of a study: of the dataset, of OUT, or of what OUT links."""
    folders = [] if dataset is None else [dataset]
    folders.append(out)
    try:
        described = documents.read(out / "dataset_description.json", _Described)
        folders += [out / link for link in described.DatasetLinks.values()]
    except (OSError, DataError):
        pass
    return next((p for f in folders if (p := f / "participants.tsv").is_file()), None)


def norms(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Norms:
    """Return the robust z of each volume within the study.

    A volume is explained by a line in the intracranial volume, age and sex where there are
    `FEWEST_ADJUSTED` scans and these are known, fitted so that odd scans count little (soft L1);
    z is the residual's distance from the median over 1.4826 times its median absolute deviation.
    Intracranial volume itself is explained by age and sex.

    Parameters
    ----------
    rows : sequence of mapping
        One a scan: ``scan``, `keys`, and perhaps ``age`` and ``sex``.
    keys : sequence of str
        Which volumes.
    """
    covariates, notes = _covariates(rows)
    adjusted = tuple(covariates) if len(rows) >= FEWEST_ADJUSTED else ()
    if not adjusted:
        notes = (*notes, f"fewer than {FEWEST_ADJUSTED} scans: volumes are not adjusted")
    z: dict[str, dict[str, float]] = {str(r["scan"]): {} for r in rows}
    for key in keys:
        values = np.array([_float(r.get(key)) for r in rows])
        known = np.isfinite(values)
        if known.sum() < FEWEST:
            continue
        names = [n for n in adjusted if not (n == "TIV" and key == TIV)]
        design = np.column_stack([np.ones(len(rows)), *(covariates[n] for n in names)])
        left = _residuals(design[known], values[known])
        spread = MAD_TO_SD * float(np.median(np.abs(left - np.median(left))))
        if spread <= 1e-9 * max(1.0, float(np.abs(values[known]).max())):
            continue
        for index, distance in zip(np.flatnonzero(known), left - np.median(left), strict=True):
            z[str(rows[int(index)]["scan"])][key] = float(distance / spread)
    return Norms(z, adjusted, notes)


def _covariates(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...]]:
    """Return what volumes are explained by, each centred and scaled, and what is missing."""
    candidates = {
        "TIV": [_float(r.get(TIV)) for r in rows],
        "age": [_float(r.get("age")) for r in rows],
        "sex": [_sex(r.get("sex")) for r in rows],
    }
    found, notes = {}, []
    for name, values in candidates.items():
        x = np.array(values)
        known = np.isfinite(x)
        if known.mean() < COVERED:
            if known.any():
                notes.append(f"{name} is known of {known.sum()} of {len(rows)} scans: not used")
            continue
        x[~known] = np.median(x[known])
        spread = float(x.std())
        if spread > 0:
            found[name] = (x - x.mean()) / spread
    return found, tuple(notes)


def _residuals(design: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    if design.shape[1] == 1:
        return values - np.median(values)
    start = np.linalg.lstsq(design, values, rcond=None)[0]
    first = values - design @ start
    scale = max(MAD_TO_SD * float(np.median(np.abs(first - np.median(first)))), 1e-6)

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return values - design @ x

    fitted = optimize.least_squares(residuals, start, loss="soft_l1", f_scale=scale)
    left: NDArray[np.float64] = residuals(fitted.x)
    return left


def _float(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _sex(value: Any) -> float:
    """Return 0 for female and 1 for male, however BIDS lets them be written."""
    first = str(value or "").strip().lower()[:1]
    return {"f": 0.0, "m": 1.0}.get(first, math.nan)
