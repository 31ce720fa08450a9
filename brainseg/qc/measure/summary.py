"""Everything that is measured of a segmented scan, and the files that hold it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from brainseg.qc.measure import volumes
from brainseg.qc.measure.air import Surroundings, surroundings
from brainseg.qc.measure.levels import PASS
from brainseg.qc.measure.quality import Quality, measure
from brainseg.qc.measure.subject import Subject
from brainseg.qc.measure.verdict import Verdict, judge
from brainseg.qc.measure.volumes import Row


@dataclass(frozen=True, eq=False)
class Summary:
    """What is measured of one scan.

    Attributes
    ----------
    around : Surroundings
        Samples of the head and of the air around it.
    quality : Quality
    verdict : Verdict
    volumes : tuple of Row
    """

    around: Surroundings
    quality: Quality
    verdict: Verdict
    volumes: tuple[Row, ...]


def summarise(subject: Subject) -> Summary:
    """Measure a segmented scan and judge it."""
    around = surroundings(subject)
    quality = measure(subject, around)
    verdict = judge(subject, quality, warnings_of(subject))
    return Summary(around, quality, verdict, tuple(volumes.measure_volumes(subject)))


def files(summary: Summary, suffix: str) -> dict[str, bytes]:
    """Return ending to content: the quality numbers with the verdict, the volumes, their columns.

    Parameters
    ----------
    summary : Summary
    suffix : str
        Of the scan's name, for example ``T1w``.
    """
    return {
        f"desc-quality_{suffix}.json": quality_json(summary.quality, summary.verdict).encode(),
        "volumes.tsv": volumes.as_tsv(list(summary.volumes)).encode(),
        "volumes.json": volumes.dictionary().encode(),
    }


def quality_json(quality: Quality, verdict: Verdict) -> str:
    """Return numbers and verdict as they are written beside the report."""
    content = {
        "verdict": verdict.level,
        "reasons": [c.reason for c in verdict.checks if c.level != PASS],
        **quality.values,
        "missing": quality.reasons,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def warnings_of(subject: Subject) -> list[str]:
    """Return the run's warnings, each once."""
    return list(dict.fromkeys(subject.record["warnings"]))
