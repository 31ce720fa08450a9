"""The citation files of a study, ``logs/CITATION.md`` and ``.bib``, as fMRIPrep has them."""

from __future__ import annotations

import logging
from pathlib import Path

from brainseg.batch.group import RECORD, finished_scans
from brainseg.errors import DataError
from brainseg.io import atomic, documents
from brainseg.qc.measure import schema
from brainseg.qc.pages import citation

log = logging.getLogger(__name__)


def write(out: Path) -> list[Path]:
    """Write what to cite for the finished scans of a folder; nothing where there is none.

    Raises
    ------
    CannotCreateError, OutputError
    """
    records = []
    for scan in finished_scans(out):
        path = scan.with_name(scan.name + RECORD)
        try:
            records.append(documents.read_checked(path, schema.Record))
        except (OSError, DataError) as error:
            log.debug("%s: its methods cannot be told (%s)", path.name, error)
    if not records:
        return []
    markdown, bibtex = citation.texts(records)
    written = []
    for name, text in {"CITATION.md": markdown, "CITATION.bib": bibtex}.items():
        written.append(out / "logs" / name)
        atomic.write_text(written[-1], text)
    return written
