"""The card at the top of a scan's report: the verdict, the volumes and the scan itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from brainseg.qc.draw.pictures import data_uri
from brainseg.qc.measure.subject import Subject
from brainseg.qc.measure.summary import Summary
from brainseg.qc.measure.verdict import Verdict
from brainseg.qc.measure.volumes import INSIDE, LESIONS, NO_SIDES, TIV
from brainseg.tissues.tables import THREE, volume_errors_ml

# What the sidecar tells: its key, our name, and the unit with its factor from that of BIDS.
ACQUISITION = (
    ("MagneticFieldStrength", "Field strength", "T", 1.0),
    ("RepetitionTime", "Repetition time (TR)", "ms", 1000.0),
    ("EchoTime", "Echo time (TE)", "ms", 1000.0),
    ("InversionTime", "Inversion time (TI)", "ms", 1000.0),
    ("FlipAngle", "Flip angle", "°", 1.0),
)


@dataclass(frozen=True)
class VolumeRow:
    """A volume in mL, its share of the brain mask if it is a part, and how well it repeats (mL)."""

    name: str
    ml: float
    share: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Class:
    """A tissue of the table that was asked for: its volume in mL and as a share of the mask."""

    name: str
    colour: str
    ml: float
    share: float


@dataclass(frozen=True)
class Top:
    """What the card shows.

    Attributes
    ----------
    verdict : Verdict
    glance : str
        Data URI of the small picture.
    volumes : tuple of VolumeRow
    classes : tuple of Class
        Empty where they are the three tissues that stand in `volumes` already.
    facts : tuple of (name, text)
        Of the scan: its grid, and what its sidecar tells.
    sides_known : bool
        Whether the header says which side is left.
    seconds : mapping of str to float
        What each step took; empty where the record does not say.
    """

    verdict: Verdict
    glance: str
    volumes: tuple[VolumeRow, ...]
    classes: tuple[Class, ...]
    facts: tuple[tuple[str, str], ...]
    sides_known: bool
    seconds: Mapping[str, float]


def top(subject: Subject, summary: Summary, small: bytes) -> Top:
    """Fill the card of a scan; `small` is its small picture as WebP."""
    return Top(
        verdict=summary.verdict,
        glance=data_uri("webp", small),
        volumes=_volumes(subject, summary),
        classes=() if subject.table == THREE else _classes(subject),
        facts=tuple(_facts(subject)),
        sides_known=not any(NO_SIDES in w for w in subject.record["warnings"]),
        seconds=dict(subject.record.get("seconds", {})),
    )


def _volumes(subject: Subject, summary: Summary) -> tuple[VolumeRow, ...]:
    volumes = subject.volumes_ml
    total = sum(volumes.values())
    names = {t.abbreviation: t.name for t in THREE.tissues}
    errors = volume_errors_ml(volumes)
    rows = [VolumeRow(names[a], ml, ml / total, errors[a]) for a, ml in volumes.items()]
    brain = volumes["GM"] + volumes["WM"]
    rows.append(VolumeRow("Brain (grey + white)", brain, brain / total, errors["brain"]))
    rows.append(VolumeRow("Brain mask", total, 1.0))
    measured = {row.structure: row for row in summary.volumes}
    rows.append(VolumeRow("Intracranial (estimate)", measured[TIV].volume_ml))
    if INSIDE in measured:
        rows.append(VolumeRow("Inside the inner table of the skull", measured[INSIDE].volume_ml))
    if LESIONS in measured:
        found = measured[LESIONS]
        rows.append(VolumeRow(f"Lesion candidates ({found.count})", found.volume_ml))
    return tuple(rows)


def _classes(subject: Subject) -> tuple[Class, ...]:
    sums = subject.responsibilities.sum(axis=0, dtype=float)
    unit = subject.volume.voxel_volume
    return tuple(
        Class(f"{t.index} {t.name}", t.colour, float(n) * unit, float(n / sums.sum()))
        for t, n in zip(subject.table.tissues, sums, strict=True)
    )


def _facts(subject: Subject) -> Iterable[tuple[str, str]]:
    volume = subject.volume
    yield "Voxels", " × ".join(str(n) for n in volume.shape)
    yield "Voxel size", " × ".join(f"{z:.3g}" for z in volume.zooms) + " mm"
    told = subject.record.get("acquisition", {})
    for key, name, unit, factor in ACQUISITION:
        if key in told:
            yield name, f"{told[key] * factor:.4g} {unit}"
    contrasts = list(subject.record.get("contrasts", ()))
    if contrasts:
        yield "Segmented with", ", ".join(contrasts)
