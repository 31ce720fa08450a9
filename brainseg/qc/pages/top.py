"""The card at the top of a scan's report: the verdict, the volumes and the scan itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from brainseg.qc.draw.pictures import data_uri
from brainseg.qc.measure.subject import Subject
from brainseg.qc.measure.summary import Summary
from brainseg.qc.measure.verdict import Verdict
from brainseg.qc.measure.volumes import NO_SIDES
from brainseg.tissues.tables import THREE


@dataclass(frozen=True)
class VolumeRow:
    """A volume in mL, as a share of the brain mask, with the standard error of the fit in mL."""

    name: str
    ml: float
    share: float
    error: float | None = None


@dataclass(frozen=True)
class Top:
    """What the card shows.

    Attributes
    ----------
    verdict : Verdict
    glance : str
        Data URI of the small picture.
    volumes : tuple of VolumeRow
    shape, zooms : str
        Of the scan's grid.
    sides_known : bool
        Whether the header says which side is left.
    seconds : mapping of str to float
        What each step took; empty where the record does not say.
    """

    verdict: Verdict
    glance: str
    volumes: tuple[VolumeRow, ...]
    shape: str
    zooms: str
    sides_known: bool
    seconds: Mapping[str, float]


def top(subject: Subject, summary: Summary, small: bytes) -> Top:
    """Fill the card of a scan; `small` is its small picture as WebP."""
    return Top(
        verdict=summary.verdict,
        glance=data_uri("webp", small),
        volumes=_volumes(subject),
        shape=" × ".join(str(n) for n in subject.volume.shape),
        zooms=" × ".join(f"{z:.3g}" for z in subject.volume.zooms),
        sides_known=not any(NO_SIDES in w for w in subject.record["warnings"]),
        seconds=dict(subject.record.get("seconds", {})),
    )


def _volumes(subject: Subject) -> tuple[VolumeRow, ...]:
    volumes = subject.volumes_ml
    total = sum(volumes.values())
    names = {t.abbreviation: t.name for t in THREE.tissues}
    errors = subject.record.get("volume_errors_ml", {})
    rows = [VolumeRow(names[a], ml, ml / total, errors.get(a)) for a, ml in volumes.items()]
    brain = volumes["GM"] + volumes["WM"]
    rows.append(VolumeRow("Brain (grey + white)", brain, brain / total))
    rows.append(VolumeRow("Brain mask", total, 1.0))
    return tuple(rows)
