"""QC pages made again from the files of a finished scan, without segmenting it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from brainseg import derivatives, nifti, tissues
from brainseg.batch import locks
from brainseg.batch.work import Outcome, Task
from brainseg.errors import BrainsegError, TemporaryError
from brainseg.masking import extract
from brainseg.nifti import Scan
from brainseg.qc import report
from brainseg.qc.panels import contact
from brainseg.qc.subject import Subject
from brainseg.tissues import THREE
from brainseg.volume import Array


def remake(task: Task) -> Outcome:
    """Make the QC page of a finished scan again; the segmentation stays as it is."""
    try:
        with locks.hold(task.ledger.lock(task.scan)):
            entry = task.ledger.read(task.scan)
            if entry is None or entry.state != "done":
                return Outcome("skipped", "no finished result")
            scan = nifti.load(task.job.path)
            subject = read_subject(task, scan)
            html, quality, verdict = report.make(subject)
            suffix = task.job.target.suffix
            numbers = report.quality_json(quality, verdict)
            files: dict[str, derivatives.Encoder] = {
                f"desc-quality_{suffix}.json": numbers.encode,
                f"desc-contact_{suffix}.webp": functools.partial(contact, subject),
                "report.html": html.encode,
            }
            written = derivatives.write_files(task.job.target, files)
            sizes = {path.name: path.stat().st_size for path in written}
            parameters = entry.parameters | {"report": True}
            task.ledger.write(entry.but(outputs=entry.outputs | sizes, parameters=parameters))
            return Outcome("done", "report made again")
    except TemporaryError as error:
        return Outcome("busy", str(error), error.exit_code)
    except BrainsegError as error:
        return Outcome("failed", str(error), error.exit_code)


def read_subject(task: Task, scan: Scan) -> Subject:
    """Read back what a report needs; probabilities have the precision of their files.

    Raises
    ------
    NoInputError, DataError
    """
    target = task.job.target
    record = json.loads(target.record.read_text(encoding="utf-8"))
    table = tissues.table(record["options"]["tissues"])
    mask = nifti.load_labels(target.path("desc-brain_mask.nii.gz"), reference=scan)[0].data > 0
    seg = f"seg-{table.name}"

    def stacked(endings: list[str]) -> Array:
        maps = [nifti.load_map(target.path(e), reference=scan) for e in endings]
        return np.stack([extract(m, mask) for m in maps], axis=1)

    labels, _ = nifti.load_labels(target.path(f"{seg}_dseg.nii.gz"), reference=scan)
    return Subject(
        name=scan.path.name,
        volume=scan.volume,
        mask=mask,
        table=table,
        responsibilities=stacked(
            [f"{seg}_label-{t.abbreviation}_probseg.nii.gz" for t in table.tissues]
        ),
        label_samples=extract(labels.data, mask).astype(np.uint8),
        fractions=stacked([f"label-{t.abbreviation}_probseg.nii.gz" for t in THREE.tissues]),
        bias=_bias(scan, target.path(f"desc-preproc_{target.suffix}.nii.gz")),
        record=record,
    )


def _bias(scan: Scan, corrected: Path) -> Array | None:
    """Return the field by which the scan was divided; None where it was left as it is."""
    divided = nifti.load_map(corrected, reference=scan)
    if np.array_equal(divided, scan.volume.data):
        return None
    field = np.ones_like(divided)
    np.divide(scan.volume.data, divided, out=field, where=divided != 0)
    return field
