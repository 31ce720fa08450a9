"""Comparing a label map with a true one, as tables that a person or a program can read."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np

from brainseg.core.metrics import Agreement, compare
from brainseg.core.volume import Array
from brainseg.errors import DataError, UsageError
from brainseg.io import nifti
from brainseg.io.grids import require_same_grid

Groups = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


def parse_map(text: str) -> Groups:
    """Read which labels correspond, for example ``1+2=1,3+4=2``.

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
                f"--map: {part!r} is not understood; write SEG=TRUTH, for example 1+2=1,3=2"
            ) from error
        groups[part.strip()] = pair
    return groups


def compare_files(segmentation: Path, truth: Path, groups: Groups | None) -> list[Agreement]:
    """Score a label map against the truth on the same grid.

    Parameters
    ----------
    segmentation, truth : Path
    groups : dict or None
        From `parse_map`; None pairs equal numbers, named by the table beside the label map.

    Raises
    ------
    NoInputError, DataError
    """
    reference = nifti.load_labels(truth)
    seg = nifti.load_labels(segmentation)
    require_same_grid(seg[1], reference[1], segmentation, truth)
    if groups is None:
        groups = _equal_numbers(seg[0].data, reference[0].data, segmentation, truth)
    return compare(seg[0].data, reference[0].data, groups, zooms=reference[0].zooms)


def as_table(rows: list[Agreement]) -> str:
    """Lay the scores out in columns."""
    width = max(12, *(len(r.name) for r in rows))
    lines = [
        f"{'tissue':<{width}}  {'Dice':>6}  {'mL':>8}  {'truth mL':>8}  "
        f"{'diff mL':>8}  {'diff %':>7}  {'HD95 mm':>7}"
    ]
    for r in rows:
        lines.append(
            f"{r.name:<{width}}  {r.dice:6.3f}  {r.volume_ml:8.1f}  {r.truth_ml:8.1f}  "
            f"{r.difference_ml:+8.1f}  {r.difference_percent:+7.1f}  {r.hausdorff95_mm:7.2f}"
        )
    return "\n".join(lines)


def as_json(rows: list[Agreement]) -> str:
    """Return the scores as JSON; what is not a finite number becomes null."""
    clean = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in map(asdict, rows)
    ]
    return json.dumps(clean, indent=2, allow_nan=False)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split("+"))


def _equal_numbers(seg: Array, truth: Array, seg_path: Path, truth_path: Path) -> Groups:
    labels = sorted(set(np.unique(seg).tolist()) & set(np.unique(truth).tolist()) - {0})
    if not labels:
        raise DataError(
            f"{seg_path.name} and {truth_path.name} share no label above 0; "
            "say with --map which correspond"
        )
    names = _names_beside(seg_path)
    return {names.get(n, f"label {n}"): ((n,), (n,)) for n in labels}


def _names_beside(path: Path) -> dict[int, str]:
    """Names from the BIDS table beside a label map, where there is one."""
    table = path.with_name(path.name.split(".")[0] + ".tsv")
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t")
        return {int(r["index"]): r.get("abbreviation") or r["name"] for r in rows}
