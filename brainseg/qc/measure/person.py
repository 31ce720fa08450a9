"""The automatic verdict of one person over time: each visit's, and that of what changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.core.masking import extract
from brainseg.core.volume import Array
from brainseg.longitudinal.change import Change
from brainseg.longitudinal.person import Person
from brainseg.qc.measure.air import surroundings
from brainseg.qc.measure.levels import LOOK, ORDER, PASS
from brainseg.qc.measure.quality import Quality, measure
from brainseg.qc.measure.subject import Subject
from brainseg.qc.measure.verdict import Check, Verdict, judge

LEAST_ALIKE = 0.85
"""Likeness of aligned visits below which somebody should look: the least of one person's visits
known to be aligned, one of them after a contrast agent."""
LARGEST_CHANGE = {"brain": 5.0, "GM": 12.0, "WM": 12.0}
"""Change between visits in per cent that somebody should look at. Atrophy of whole brains seldom
exceeds 3 % a year; visits without change differed by 3.7 % of grey matter at most, in clinical
scans on two grids (`pipelines/evaluate_longitudinal.py`)."""


@dataclass(frozen=True, eq=False)
class PersonSummary:
    """What is measured of one person.

    Attributes
    ----------
    labels : tuple of str
        Of the visits.
    qualities : tuple of Quality
        Of each visit, on the common grid.
    verdict : Verdict
        The worst of all visits, and of what changed between them.
    """

    labels: tuple[str, ...]
    qualities: tuple[Quality, ...]
    verdict: Verdict


def summarise(labels: Sequence[str], person: Person, found: Sequence[Change]) -> PersonSummary:
    """Measure each visit as a scan of its own, judge it, and judge the changes.

    Parameters
    ----------
    labels : sequence of str
        Of the visits, the first one first.
    person : Person
    found : sequence of Change
    """
    qualities, judged = [], []
    for s, label in enumerate(labels):
        subject = subject_of(person, s, label)
        quality = measure(subject, surroundings(subject))
        qualities.append(quality)
        judged.append(judge(subject, quality))
    checks = [*_common(labels, judged), *_changes(person, found)]
    checks += [Check(LOOK, warning) for warning in person.warnings]
    checks.sort(key=lambda check: -ORDER[check.level])
    level = checks[0].level if checks else PASS
    return PersonSummary(tuple(labels), tuple(qualities), Verdict(level, tuple(checks)))


def subject_of(person: Person, session: int, label: str) -> Subject:
    """Return one visit, on the common grid, as a segmented scan."""
    voxels, agreement = person.fit.voxels[session], person.agreements[session]
    field = person.fit.log_field
    values = extract(person.preproc(session), person.mask)
    return Subject(
        name=f"ses-{label}",
        volume=person.mean.with_data(person.sessions[session]),
        mask=person.mask,
        table=person.table,
        responsibilities=voxels.responsibilities,
        label_samples=(voxels.responsibilities.argmax(axis=1) + 1).astype(np.uint8),
        fractions=voxels.fractions,
        bias=None if field is None else np.exp(field),
        zero=0.0,
        record={
            **_moments(values, voxels.responsibilities),
            "log_likelihood": person.fit.found.history,
            "agreement": asdict(agreement),
        },
        lesions=voxels.lesions,
    )


def quality_json(summary: PersonSummary) -> str:
    """Return the verdict, and the numbers of each visit, as they are written."""
    visits = {
        f"ses-{label}": {**quality.values, "missing": quality.reasons}
        for label, quality in zip(summary.labels, summary.qualities, strict=True)
    }
    content = {
        "verdict": summary.verdict.level,
        "reasons": [c.reason for c in summary.verdict.checks if c.level != PASS],
        "visits": visits,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _common(labels: Sequence[str], judged: Sequence[Verdict]) -> list[Check]:
    """Join the checks of all visits: one of all is told once, another with its visit."""
    shared = set.intersection(*(set(verdict.checks) for verdict in judged))
    out = [check for check in judged[0].checks if check in shared]
    for label, verdict in zip(labels, judged, strict=True):
        out += [
            Check(check.level, f"ses-{label}: {check.reason}")
            for check in verdict.checks
            if check not in shared
        ]
    return out


def _changes(person: Person, found: Sequence[Change]) -> list[Check]:
    """Doubt alignments that are poor, and changes that no disease makes between two visits."""
    checks = []
    if person.likeness < LEAST_ALIKE:
        checks.append(
            Check(LOOK, f"The aligned visits are little alike ({person.likeness:.2f}): are all of "
                  "them of this person, and aligned?")
        )  # fmt: skip
    for change in found:
        most = LARGEST_CHANGE.get(change.tissue)
        if most is not None and abs(change.change_percent) > most:
            what = {"brain": "The brain", "GM": "Grey matter", "WM": "White matter"}[change.tissue]
            checks.append(
                Check(LOOK, f"ses-{change.session}: {what} changes by {change.change_percent:+.1f} "
                      "% since the first visit: mask, alignment or contrast?")
            )  # fmt: skip
    return checks


def _moments(values: Array, responsibilities: NDArray[np.float32]) -> dict[str, Any]:
    """Return weights, means and variances of the tissues, as the record of a scan has them."""
    size = responsibilities.sum(axis=0, dtype=np.float64) + 1e-9
    x = values.astype(np.float64)
    means = x @ responsibilities / size
    variances = np.maximum(x**2 @ responsibilities / size - means**2, 0)
    return {
        "weights": (size / len(x)).tolist(),
        "means": means[:, None].tolist(),
        "covariances": variances[:, None, None].tolist(),
    }
