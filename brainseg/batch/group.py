"""All scans of a study in one table, with what each column means."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from brainseg.errors import NothingMatchedError
from brainseg.io import atomic, bids
from brainseg.qc.measure.numbers import NUMBERS
from brainseg.qc.review import ratings

log = logging.getLogger(__name__)

Value: TypeAlias = "float | int | str | bool | None"
Row: TypeAlias = dict[str, Value]

TABLE = "group_T1w.tsv"
RECORD = "_desc-brainseg_mixture.json"
QUALITY = "_desc-quality_T1w.json"
TOTAL = ("CSF", "GM", "WM")

# Columns that are no quality number: what they are and their unit.
COLUMNS: dict[str, tuple[str, str]] = {
    "participant_id": ("Participant", ""),
    "session_id": ("Session", ""),
    "scan": ("Name of the scan, which its files begin with", ""),
    "volume_CSF": ("Volume of cerebrospinal fluid inside the brain mask, from fractions", "mL"),
    "volume_GM": ("Volume of grey matter, from fractions", "mL"),
    "volume_WM": ("Volume of white matter, from fractions", "mL"),
    "volume_total": ("Volume of the brain mask, CSF included", "mL"),
    "mask_route": ("How the brain was found", ""),
    "mask_confidence": ("Confidence of that route, 0 to 1", ""),
    "converged": ("Whether the mixture converged", ""),
    "n_iter": ("Iterations of EM", ""),
    "log_likelihood": ("Log-likelihood per voxel at the end of the fit", ""),
    "verdict": ("Verdict of the automatic checks: pass, look or fail", ""),
    "rating": ("Rating that most reviewers gave: pass, uncertain or fail; see qc_ratings.tsv", ""),
    "cohort_log_likelihood": (
        "Mean log-density of the scan's voxels under the cohort's mixture, in normalised "
        "intensity; a scan far below the others is odd",
        "",
    ),
    "warnings": ("Number of warnings; the report has their text", ""),
}


def collect(out: Path) -> list[Row]:
    """Read the numbers of every finished scan, in order of name.

    Raises
    ------
    NothingMatchedError
        When there is no finished scan.
    """
    rows = [row for scan in finished_scans(out) if (row := _row(scan)) is not None]
    agreed = ratings.consensus(ratings.read(out))
    for row in rows:
        row["rating"] = agreed.get(str(row["scan"]))
    if not rows:
        raise NothingMatchedError(
            f"{out.name}/: no finished scan (sub-*/**/*{RECORD}); run the participant level first"
        )
    return rows


def chosen(
    rows: list[Row], *, participants: list[str], sessions: list[str], runs: list[str]
) -> list[Row]:
    """Keep the rows whose scans have these labels; an empty list keeps all."""
    labels = {"sub": participants, "ses": sessions, "run": runs}
    wanted: dict[str, bids.Wanted] = {k: frozenset(v) for k, v in labels.items() if v}

    def fits(row: Row) -> bool:
        name = bids.parse(f"{row['scan']}_T1w.nii.gz")
        return name is not None and bids.selects(wanted, name)

    return [row for row in rows if fits(row)]


def finished_scans(out: Path) -> list[Path]:
    """Return folder and prefix of each finished scan, in order of name."""
    found = (path.with_name(path.name.removesuffix(RECORD)) for path in _records(out))
    return sorted(found, key=lambda path: path.name)


def write_table(out: Path, rows: list[Row]) -> list[Path]:
    """Write rows as TSV, and the JSON that explains the columns.

    Raises
    ------
    CannotCreateError, OutputError
    """
    # Columns in the order of first appearance: scans of an older version may have fewer.
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["\t".join(columns)]
    lines += ["\t".join(_cell(row.get(name)) for name in columns) for row in rows]
    table = out / TABLE
    atomic.write_text(table, "\n".join(lines) + "\n")
    dictionary = table.with_suffix(".json")
    text = json.dumps(dict(_explain(columns)), indent=2, ensure_ascii=False)
    atomic.write_text(dictionary, text + "\n")
    return [table, dictionary]


def components(scan: Path) -> int:
    """Return how many components the mixture of a finished scan has."""
    record = _read(scan.with_name(scan.name + RECORD)) or {}
    return len(record.get("weights", [])) or 6


def _records(out: Path) -> Iterable[Path]:
    for depth in ("sub-*/anat", "sub-*/ses-*/anat"):
        yield from out.glob(f"{depth}/[!.]*{RECORD}")


def _row(scan: Path) -> Row | None:
    name = bids.parse(f"{scan.name}_T1w.nii.gz")
    record = _read(scan.with_name(scan.name + RECORD))
    if record is None or name is None:
        return None
    row: Row = {
        "participant_id": f"sub-{name.get('sub')}",
        "session_id": None if name.get("ses") is None else f"ses-{name.get('ses')}",
        "scan": scan.name,
    }
    volumes = record.get("volumes_ml", {})
    for tissue in TOTAL:
        row[f"volume_{tissue}"] = _number(volumes.get(tissue))
    known = [v for t in TOTAL if isinstance(v := row[f"volume_{t}"], float)]
    row["volume_total"] = sum(known) if len(known) == len(TOTAL) else None
    brain = record.get("brain", {})
    history = record.get("log_likelihood") or [None]
    row |= {
        "mask_route": brain.get("route"),
        "mask_confidence": _number(brain.get("confidence")),
        "converged": record.get("converged"),
        "n_iter": record.get("n_iter"),
        "log_likelihood": _number(history[-1]),
        "warnings": len(record.get("warnings", [])),
    }
    quality = _read(scan.with_name(scan.name + QUALITY)) or {}
    row["verdict"] = quality.get("verdict")
    return row | {k: _number(v) for k, v in quality.items() if v is None or _is_number(v)}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s: left out, it cannot be read (%s)", path.name, error)
        return None
    return content if isinstance(content, dict) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    return float(value) if _is_number(value) and math.isfinite(value) else None


def _cell(value: Value) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _explain(columns: Iterable[str]) -> Iterable[tuple[str, Mapping[str, str]]]:
    numbers = {number.key: number for number in NUMBERS}
    for column in columns:
        if column in COLUMNS:
            what, unit = COLUMNS[column]
            yield column, {"Description": what} | ({"Units": unit} if unit else {})
        elif column in numbers:
            number = numbers[column]
            text = f"{number.name}: {number.what}; better: {number.better}"
            yield column, {"Description": text} | ({"DOI": number.doi} if number.doi else {})
        else:
            yield column, {"Description": column}
