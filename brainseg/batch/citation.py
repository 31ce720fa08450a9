"""What to cite for results: of a file, of a folder, and the citation files of a study."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainseg.batch.group import RECORD, finished_scans
from brainseg.errors import BrainsegError, DataError, NoInputError, NothingMatchedError
from brainseg.io import atomic, documents
from brainseg.qc.measure import schema
from brainseg.qc.pages import citation

log = logging.getLogger(__name__)

PERSON = "_long.json"
"""How the record of a person's visits ends."""


@dataclass(frozen=True)
class Gathered:
    """The records of some results, and an error for each that cannot be read."""

    records: Sequence[Mapping[str, Any]]
    faults: Sequence[BrainsegError]


def texts_of(path: Path) -> tuple[str, str, Sequence[BrainsegError]]:
    """Return what to cite for a result, or for all results of a folder.

    Parameters
    ----------
    path : Path
        A record (``*_desc-brainseg_mixture.json``, ``*_long.json``), or a folder that holds some.

    Returns
    -------
    markdown, bibtex : str
    faults : sequence of BrainsegError
        One for each record that was left out.

    Raises
    ------
    NoInputError
        When there is no such file or folder, or it may not be read.
    NothingMatchedError
        When the folder holds no finished result.
    DataError
        When no record can be read.
    """
    if path.is_dir():
        found = gather(path)
        if not found.records and not found.faults:
            raise NothingMatchedError(
                f"{path.name}/: no finished result (a file that ends in {RECORD} or {PERSON}); "
                "segment a scan first"
            )
    else:
        found = _read([path])
    if not found.records:
        raise found.faults[0]
    markdown, bibtex = citation.texts(found.records)
    return markdown, bibtex, found.faults


def gather(out: Path) -> Gathered:
    """Read the records of all finished scans and persons of a folder, in order of name."""
    scans = [scan.with_name(scan.name + RECORD) for scan in finished_scans(out)]
    people = [
        path
        for path in sorted(out.rglob(f"*{PERSON}"))
        if not any(part.startswith(".") for part in path.relative_to(out).parts)
    ]
    return _read([*scans, *people])


def _read(paths: Sequence[Path]) -> Gathered:
    records: list[Mapping[str, Any]] = []
    faults: list[BrainsegError] = []
    for path in paths:
        kind = schema.PersonRecord if path.name.endswith(PERSON) else schema.Record
        try:
            records.append(documents.read_checked(path, kind))
        except FileNotFoundError:
            faults.append(NoInputError(f"{path.name}: there is no such file or folder"))
        except OSError as error:
            faults.append(NoInputError(f"{path.name}: cannot be read ({error.strerror})"))
        except DataError as error:
            faults.append(DataError(f"{error}; it is no record of brainseg"))
    return Gathered(records, faults)


def write(out: Path) -> list[Path]:
    """Write ``logs/CITATION.md`` and ``.bib`` as fMRIPrep has them; nothing for no result.

    Raises
    ------
    CannotCreateError, OutputError
    """
    found = gather(out)
    for fault in found.faults:
        log.debug("its methods cannot be told: %s", fault)
    if not found.records:
        return []
    markdown, bibtex = citation.texts(found.records)
    written = []
    for name, text in {"CITATION.md": markdown, "CITATION.bib": bibtex}.items():
        written.append(out / "logs" / name)
        atomic.write_text(written[-1], text)
    return written
