"""Quality control made again from the files of a finished scan, without segmenting it."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainseg.core.masking import extract
from brainseg.core.volume import Array
from brainseg.errors import DataError, NoInputError
from brainseg.io import documents, names, nifti
from brainseg.io.derivatives import Target
from brainseg.io.nifti import Scan
from brainseg.qc.measure.schema import Record
from brainseg.qc.measure.subject import Subject
from brainseg.tissues import tables
from brainseg.tissues.tables import THREE


def read_subject(target: Target, scan: Scan) -> Subject:
    """Read back what a report needs; probabilities have the precision of their files.

    Parameters
    ----------
    target : Target
        Where the outputs of the scan lie.
    scan : Scan
        The input that they were made from.

    Raises
    ------
    NoInputError
        When there is no finished result, or a file of it is gone.
    DataError
        When the result was made from another scan.
    """
    record = _record(target)
    if record["input"]["sha256"] != scan.sha256:
        raise DataError(
            f"{scan.path.name}: {target.record.name} was made from another file of this name "
            "(its hash differs); segment it again with `force`"
        )
    asked = tables.table(record["options"]["tissues"])
    table = asked.of_brain
    mask = nifti.load_labels(target.image("desc-brain_mask"), reference=scan)[0].data > 0

    def stacked(endings: list[str]) -> Array:
        maps = [nifti.load_map(target.image(e), reference=scan) for e in endings]
        return np.stack([extract(m, mask) for m in maps], axis=1)

    # A record of version 0.2.0 has none: there the whole intensity was divided.
    zero = float(record.get("zero", 0.0))
    lesions = None
    if "lesion_candidates_ml" in record or "lesion_mask_ml" in record:
        lesions = stacked([names.LESIONS])[:, 0]
    regions = None
    if target.image(names.REGIONS).exists():
        expected, _ = nifti.load_labels(target.image(names.REGIONS), reference=scan)
        regions = extract(expected.data, mask).astype(np.uint8)
    fractions = stacked([names.fraction(t) for t in THREE.tissues])
    responsibilities = fractions
    if asked is table:
        responsibilities = stacked([names.responsibility(table, t) for t in table.tissues])
    labels = nifti.load_labels(target.image(names.table_labels(asked)), reference=scan)[0].data
    head = None
    if asked is not table:
        head = labels.astype(np.uint8)
        labels = nifti.load_labels(target.image(names.LABELS), reference=scan)[0].data
    return Subject(
        name=scan.path.name,
        volume=scan.volume,
        mask=mask,
        table=table,
        responsibilities=responsibilities,
        label_samples=extract(labels, mask).astype(np.uint8),
        fractions=fractions,
        bias=None if record["options"]["bias"] == "none" else _bias(target, scan, zero),
        zero=zero,
        record=record,
        lesions=lesions,
        regions=regions,
        head=head,
    )


def _record(target: Target) -> dict[str, Any]:
    try:
        return documents.read_checked(target.record, Record)
    except FileNotFoundError as error:
        raise NoInputError(
            f"{target.record.name}: no finished result of this scan in {target.root.name}/; "
            "segment it first"
        ) from error
    except OSError as error:
        raise NoInputError(f"{target.record.name}: cannot be read ({error.strerror})") from error
    except DataError as error:
        raise DataError(f"{error}; it is no record of brainseg") from error


def _bias(target: Target, scan: Scan, zero: float) -> Array:
    """Return the field by which the scan was divided, 1 where it was left as it is."""
    corrected = target.image(f"desc-preproc_{target.suffix}")
    divided = nifti.load_map(corrected, reference=scan) - np.float32(zero)
    field = np.ones_like(divided)
    np.divide(scan.volume.data - np.float32(zero), divided, out=field, where=divided != 0)
    return field
