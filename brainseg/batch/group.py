"""All scans of a study in one table, with what each column means."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from brainseg.batch.ledger import Entry, Ledger
from brainseg.batch.norms import TIV, Norms, Participants, norms
from brainseg.errors import DataError, NothingMatchedError
from brainseg.io import atomic, bids, documents
from brainseg.qc.measure import schema, volumes
from brainseg.qc.measure.numbers import NUMBERS
from brainseg.qc.review import ratings

log = logging.getLogger(__name__)

Value: TypeAlias = "float | int | str | bool | None"
Row: TypeAlias = dict[str, Value]

TABLE = "group_T1w.tsv"
RECORD = "_desc-brainseg_mixture.json"
DONE = "done"
MISSING = "NA"
"""What R, pandas and Julia read as missing without being told; BIDS' ``n/a`` makes R read a column
of numbers as text. The table is the study's, not a BIDS file (``.bidsignore`` names it)."""
STRUCTURE = {
    "volume_ml": "volume",
    "left_ml": "left",
    "right_ml": "right",
    "asymmetry": "asymmetry",
    "tiv_fraction": "fraction",
    "mean": "mean",
    "sd": "sd",
    "count": "count",
}
"""Columns of a scan's table of volumes to the first part of their names here: ``left_GM``."""

# Columns that are no quality number: what they are and their unit.
COLUMNS: dict[str, tuple[str, str]] = {
    "participant_id": ("Participant", ""),
    "session_id": ("Session", ""),
    "scan": ("Name of the scan, which its files begin with", ""),
    "status": ("done, or why there is no result: failed, quarantined, interrupted, running", ""),
    "reason": ("Why the scan failed, in one line", ""),
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
    """Read the numbers of every scan, in order of name; one that failed is a row without numbers.

    Parameters
    ----------
    out : Path
        Derivatives of a study, or a folder of plain runs.

    Raises
    ------
    NothingMatchedError
        When there is no scan.
    """
    # A participant's visits together are no scan: `brainseg.batch.people` has their table.
    entries = {_scan_of(e): e for e in Ledger(out).entries() if not e.scan.endswith(PERSON)}
    found = {scan_name(out, scan): scan for scan in finished_scans(out)}
    rows = []
    for name in sorted(found.keys() | entries.keys()):
        row = _identity(name) | _status(entries.get(name))
        if name in found:
            row |= _numbers(found[name])
        rows.append(row)
    agreed = ratings.consensus(ratings.read(out))
    for row in rows:
        row["rating"] = agreed.get(str(row["scan"]))
    if not rows:
        raise NothingMatchedError(
            f"{out.name}/: no finished scan (a file that ends in {RECORD}); segment some first"
        )
    return rows


def join(rows: list[Row], participants: Participants) -> None:
    """Add what ``participants.tsv`` says of each row's participant; never over a column of ours."""
    for row in rows:
        known = participants.rows.get(str(row["participant_id"]), {})
        for column in participants.columns:
            row.setdefault(column, _parsed(known.get(column)))


def compare(rows: list[Row]) -> Norms:
    """Add to each row how unusual its volumes are within the study: columns ``z_...``."""
    keys = sorted(
        {k for row in rows for k in row if k.startswith(("volume_", "asymmetry_"))},
        key=lambda k: (k != TIV, k),
    )
    found = norms(rows, keys)
    for row in rows:
        for key, z in found.z[str(row["scan"])].items():
            row[f"z_{key}"] = z
    return found


def chosen(
    rows: list[Row], *, participants: list[str], sessions: list[str], runs: list[str]
) -> list[Row]:
    """Keep the rows whose scans have these labels; an empty list keeps all."""
    labels = {"sub": participants, "ses": sessions, "run": runs}
    wanted: dict[str, bids.Wanted] = {k: frozenset(v) for k, v in labels.items() if v}
    if not wanted:
        # Plain runs have names without labels.
        return rows

    def fits(row: Row) -> bool:
        name = bids.parse(f"{row['scan']}_T1w.nii.gz")
        return name is not None and bids.selects(wanted, name)

    return [row for row in rows if fits(row)]


def finished_scans(out: Path) -> list[Path]:
    """Return folder and prefix of each finished scan, in order of name."""
    found = []
    for path in out.rglob(f"*{RECORD}"):
        if not any(part.startswith(".") for part in path.relative_to(out).parts):
            found.append(path.with_name(path.name.removesuffix(RECORD)))
    return sorted(found, key=lambda path: (path.name, path))


def write_table(out: Path, rows: list[Row], found: Norms | None = None) -> list[Path]:
    """Write rows as TSV, and the JSON that explains the columns.

    Parameters
    ----------
    out : Path
    rows : list of dict
    found : Norms, optional
        From `compare`, to say what the columns ``z_...`` account for.

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
    text = json.dumps(dict(_explain(columns, found)), indent=2, ensure_ascii=False)
    atomic.write_text(dictionary, text + "\n")
    return [table, dictionary]


def components(scan: Path) -> int:
    """Return how many components the mixture of a finished scan has."""
    try:
        record = documents.read_checked(scan.with_name(scan.name + RECORD), schema.Fit)
    except (OSError, DataError):
        return 6
    return len(record.get("weights", [])) or 6


PERSON = "_long"
"""How the ledger's names of participants end whose visits were segmented together."""


def _scan_of(entry: Entry) -> str:
    """Return the name of a ledger's scan as it is in the table: without its suffix."""
    return entry.scan.rpartition("_")[0] or entry.scan


def scan_name(out: Path, scan: Path) -> str:
    """Name a finished scan; plain runs of the same file name are told apart by their folder."""
    if scan.name.startswith("sub-"):
        return scan.name
    return "/".join(scan.relative_to(out).parts)


def _identity(scan: str) -> Row:
    name = bids.parse(f"{scan.rpartition('/')[2]}_T1w.nii.gz")
    if name is None:
        return {"participant_id": scan, "session_id": None, "scan": scan}
    return {
        "participant_id": f"sub-{name.get('sub')}",
        "session_id": None if name.get("ses") is None else f"ses-{name.get('ses')}",
        "scan": scan,
    }


def _status(entry: Entry | None) -> Row:
    if entry is None or entry.state == "done":
        return {"status": DONE, "reason": None}
    reason = None if entry.error is None else " ".join(entry.error.reason.split())
    return {"status": entry.state, "reason": reason}


def _numbers(scan: Path) -> Row:
    """Read what the files of a finished scan say."""
    try:
        record = documents.read_checked(scan.with_name(scan.name + RECORD), schema.Fit)
    except (OSError, DataError) as error:
        reason = _reason(error)
        log.warning("%s: its record counts for nothing (%s)", scan.name, reason)
        return {"status": "failed", "reason": reason}
    row: Row = _volumes(scan.with_name(f"{scan.name}_volumes.tsv"))
    brain = record.get("brain", {})
    history = record.get("log_likelihood") or [None]
    row |= {
        "mask_route": brain.get("route"),
        "mask_confidence": schema.number(brain.get("confidence")),
        "converged": record.get("converged"),
        "n_iter": record.get("n_iter"),
        "log_likelihood": schema.number(history[-1]),
        "warnings": len(record.get("warnings", [])),
    }
    quality: dict[str, Any] = {}
    for path in sorted(scan.parent.glob(f"{scan.name}_desc-quality_*.json")):
        try:
            quality = schema.read_quality(path)
        except (OSError, DataError) as error:
            log.warning("%s: left out (%s)", path.name, _reason(error))
    row["verdict"] = quality.get("verdict")
    return row | schema.numbers(quality)


def _volumes(path: Path) -> Row:
    """Read a scan's table of volumes; each structure becomes a group of columns."""
    try:
        text = documents.read_bytes(path).decode("utf-8")
        lines = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    except FileNotFoundError:
        return {}
    except (OSError, DataError, ValueError, csv.Error) as error:
        log.warning("%s: left out (%s)", path.name, _reason(error))
        return {}
    row: Row = {}
    for line in lines:
        for column, first in STRUCTURE.items():
            cell = line.get(column)
            structure = line.get("structure")
            if structure and cell and cell != volumes.MISSING:
                row[f"{first}_{structure}"] = _parsed(cell)
    return row


def _parsed(text: str | None) -> Value:
    """Read a cell: a number where it is one."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return " ".join(text.split())
    if not math.isfinite(number):
        return None
    return int(text) if text.lstrip("+-").isdecimal() and not text.startswith("0") else number


def _reason(error: Exception) -> str:
    """Say in one line why a file counts for nothing, without the folder that it lies in."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return " ".join(str(error).split())[:200]


def _cell(value: Value) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _explain(
    columns: Iterable[str], found: Norms | None
) -> Iterable[tuple[str, Mapping[str, str]]]:
    numbers = {number.key: number for number in NUMBERS}
    for column in columns:
        if column in COLUMNS:
            what, unit = COLUMNS[column]
            yield column, {"Description": what} | ({"Units": unit} if unit else {})
        elif column in numbers:
            number = numbers[column]
            text = f"{number.name}: {number.what}; better: {number.better}"
            yield column, {"Description": text} | ({"DOI": number.doi} if number.doi else {})
        elif column.startswith("z_"):
            yield column, {"Description": _of_z(column.removeprefix("z_"), found)}
        else:
            yield column, _of_structure(column)


def _of_structure(column: str) -> Mapping[str, str]:
    first, _, structure = column.partition("_")
    source = next((c for c, name in STRUCTURE.items() if name == first), None)
    if source is None or not structure:
        return {"Description": f"{column}, from participants.tsv"}
    what, unit = volumes.COLUMNS[source]
    return {"Description": f"{structure}: {what}"} | ({"Units": unit} if unit else {})


def _of_z(key: str, found: Norms | None) -> str:
    names = [] if found is None else [n for n in found.adjusted if not (n == "TIV" and key == TIV)]
    known = f"adjusted for {', '.join(names)}" if names else "not adjusted"
    notes = "" if found is None else "".join(f"; {note}" for note in found.notes)
    return f"Robust z of {key} within this study, {known}{notes}"
