"""Comparing a label map with a true one, as tables that a person or a program can read."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from brainseg.config import TABLES
from brainseg.core.metrics import Agreement, compare
from brainseg.core.volume import Array
from brainseg.errors import DataError, UsageError
from brainseg.evaluation.schemes import Scheme, of_table, scheme
from brainseg.io import nifti
from brainseg.io.grids import require_same_grid
from brainseg.tissues import tables
from brainseg.tissues.tables import TissueTable

Groups = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
TOLERANCE_MM = 1.0


@dataclass(frozen=True)
class Comparison:
    """The scores, and what was not scored.

    Attributes
    ----------
    rows : tuple of Agreement
    unmatched : mapping of str to mapping of int to float
        ``segmentation`` and ``truth`` to the labels that no row holds, with their mL.
    """

    rows: tuple[Agreement, ...]
    unmatched: dict[str, dict[int, float]]


def parse_map(text: str) -> Groups:
    """Read which labels correspond, for example ``1+2=1,3=4-6``.

    Returns
    -------
    dict
        Name of each pair to (labels of the segmentation, labels of the truth).

    Raises
    ------
    UsageError
    """
    groups: Groups = {}
    for part in text.split(","):
        left, equals, right = part.partition("=")
        try:
            if not equals:
                raise ValueError
            pair = _numbers(left), _numbers(right)
        except ValueError as error:
            raise UsageError(
                f"`map`: {part!r} is not understood; write SEG=TRUTH, for example 1+2=1,3=4-6"
            ) from error
        groups[part.strip()] = pair
    for side, name in enumerate(("segmentation", "truth")):
        labels = [label for pair in groups.values() for label in pair[side]]
        if twice := sorted({n for n in labels if labels.count(n) > 1}):
            raise UsageError(
                f"`map`: label {twice[0]} of the {name} stands in it twice; join what corresponds "
                "by +, for example 1+2=1"
            )
    return groups


def compare_files(
    segmentation: Path,
    truth: Path,
    groups: Groups | None = None,
    *,
    schemes: tuple[str | None, str | None] = (None, None),
    tolerance_mm: float = TOLERANCE_MM,
) -> Comparison:
    """Score a label map against the truth on the same grid.

    Parameters
    ----------
    segmentation, truth : Path
    groups : dict or None
        From `parse_map`; None pairs by schemes, else equal numbers, named by the table beside the
        label map.
    schemes : (str or None, str or None)
        Names of the two label schemes (`brainseg.evaluation.schemes`); one alone is that of the
        side it is given for, and the other is read from the table beside its file.
    tolerance_mm : float
        Of the surface Dice.

    Raises
    ------
    NoInputError, DataError, UsageError
    """
    reference = nifti.load_labels(truth)
    seg = nifti.load_labels(segmentation)
    require_same_grid(seg[1], reference[1], segmentation, truth)
    ours, theirs = seg[0].data, reference[0].data
    for pair, (left, right) in (groups or {}).items():
        if not np.isin(ours, left).any() and not np.isin(theirs, right).any():
            raise DataError(
                f"`map` {pair}: neither {segmentation.name} nor {truth.name} holds these labels"
            )
    if groups is None and any(schemes):
        groups = _by_schemes(*schemes, segmentation, truth)
    if groups is None:
        groups = _equal_numbers(ours, theirs, segmentation, truth)
    zooms = reference[0].zooms
    unit = math.prod(zooms) / 1000.0
    used = [{n for pair in groups.values() for n in pair[side]} for side in (0, 1)]
    return Comparison(
        tuple(compare(ours, theirs, groups, zooms=zooms, tolerance_mm=tolerance_mm)),
        {
            "segmentation": _left_over(ours, used[0], unit),
            "truth": _left_over(theirs, used[1], unit),
        },
    )


def as_table(rows: Sequence[Agreement]) -> str:
    """Lay the scores out in columns."""
    width = max(12, *(len(r.name) for r in rows))
    lines = [
        f"{'tissue':<{width}}  {'Dice':>6}  {'sDice':>6}  {'mL':>8}  {'truth mL':>8}  "
        f"{'diff mL':>8}  {'diff %':>7}  {'HD95 mm':>7}  {'mean mm':>7}"
    ]
    for r in rows:
        lines.append(
            f"{r.name:<{width}}  {r.dice:6.3f}  {r.surface_dice:6.3f}  {r.volume_ml:8.1f}  "
            f"{r.truth_ml:8.1f}  {r.difference_ml:+8.1f}  "
            f"{_cell(r.difference_percent, '+.1f'):>7}  {_cell(r.hausdorff95_mm, '.2f'):>7}  "
            f"{_cell(r.mean_surface_mm, '.2f'):>7}"
        )
    return "\n".join(lines)


def notes(found: Comparison) -> list[str]:
    """Return a line for each side whose labels are not all compared."""
    lines = []
    for side, labels in found.unmatched.items():
        if labels:
            some = [f"{n} ({ml:.1f} mL)" for n, ml in list(labels.items())[:8]]
            more = f" and {len(labels) - 8} more" if len(labels) > 8 else ""
            lines.append(f"not compared: {side} {', '.join(some)}{more}")
    return lines


def as_json(rows: Sequence[Agreement]) -> str:
    """Return the scores as JSON; what is not a finite number becomes null."""
    return json.dumps([_finite(row) for row in rows], indent=2, allow_nan=False)


def as_csv(rows: Sequence[Agreement]) -> str:
    """Return the scores as CSV; what is not a finite number becomes ``NA``."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [f.name for f in fields(Agreement)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "NA" if v is None else v for k, v in _finite(row).items()})
    return stream.getvalue().rstrip("\n")


def _finite(row: Agreement) -> dict[str, Any]:
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v
        for k, v in asdict(row).items()
    }


def _cell(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "–"


def _numbers(text: str) -> tuple[int, ...]:
    """Read ``1+4-6`` as 1, 4, 5, 6."""
    found: list[int] = []
    for part in text.split("+"):
        first, dash, last = part.strip().partition("-")
        low, high = int(first), int(last if dash else first)
        if high < low or high - low > 100_000:
            raise ValueError(part)
        found += range(low, high + 1)
    return tuple(found)


def _left_over(labels: Array, used: Collection[int], unit: float) -> dict[int, float]:
    values, counts = np.unique(labels, return_counts=True)
    return {
        int(v): int(n) * unit
        for v, n in zip(values, counts, strict=True)
        if v != 0 and int(v) not in used
    }


def _by_schemes(ours: str | None, theirs: str | None, seg_path: Path, truth_path: Path) -> Groups:
    """Pair the structures that both schemes know."""
    a = scheme(ours) if ours else _scheme_beside(seg_path, "`seg_labels`")
    b = scheme(theirs) if theirs else _scheme_beside(truth_path, "`truth_labels`")
    shared = [name for name in a.labels if name in b.labels]
    if not shared:
        raise UsageError(
            f"label schemes {a.name} ({', '.join(a.labels)}) and {b.name} ({', '.join(b.labels)}) "
            "share no structure; say with `map` which labels correspond"
        )
    return {n: (tuple(sorted(a.labels[n])), tuple(sorted(b.labels[n]))) for n in shared}


def _scheme_beside(path: Path, option: str) -> Scheme:
    """Recognise one of our own tables by the names beside a label map; the numbers are the file's.

    Version 0.2.0 wrote other numbers for the three tissues.
    """
    names = {name: number for number, name in _names_beside(path).items()}
    for known in TABLES:
        table = tables.table(known)
        if names and names.keys() == {t.abbreviation for t in table.tissues}:
            numbered = tuple(replace(t, index=names[t.abbreviation]) for t in table.tissues)
            return of_table(TissueTable(table.name, numbered))
    raise UsageError(f"{path.name}: its label scheme is not known; name it with {option}")


def _equal_numbers(seg: Array, truth: Array, seg_path: Path, truth_path: Path) -> Groups:
    """Pair equal numbers, or equal names where the tables beside both files number them apart."""
    names, others = _names_beside(seg_path), _names_beside(truth_path)
    if names != others and set(names.values()) == set(others.values()):
        theirs = {name: number for number, name in others.items()}
        return {name: ((number,), (theirs[name],)) for number, name in names.items()}
    labels = sorted(set(np.unique(seg).tolist()) & set(np.unique(truth).tolist()) - {0})
    if not labels:
        raise DataError(
            f"{seg_path.name} and {truth_path.name} share no label above 0; "
            "say with `map` which correspond"
        )
    return {names.get(n, f"label {n}"): ((n,), (n,)) for n in labels}


def _names_beside(path: Path) -> dict[int, str]:
    """Names from the BIDS table beside a label map, where there is one."""
    table = path.with_name(path.name.split(".")[0] + ".tsv")
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t")
        return {int(r["index"]): r.get("abbreviation") or r["name"] for r in rows}
