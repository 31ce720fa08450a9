"""What a BIDS sidecar tells of how a scan was made: five numbers, and nothing of a person."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeGuard

from brainseg.errors import DataError
from brainseg.io import bids, documents

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Acquisition:
    """How a scan was made, by the names of BIDS; None where nothing tells.

    Attributes
    ----------
    MagneticFieldStrength : float or None
        Tesla.
    RepetitionTime, EchoTime, InversionTime : float or None
        Seconds.
    FlipAngle : float or None
        Degrees.
    """

    MagneticFieldStrength: float | None = None
    RepetitionTime: float | None = None
    EchoTime: float | None = None
    InversionTime: float | None = None
    FlipAngle: float | None = None

    def known(self) -> dict[str, float]:
        """Return what is told, by name."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in told.items() if value is not None}


UNTOLD = Acquisition()


def read_acquisition(path: Path) -> Acquisition:
    """Read the sidecars of a scan; the nearest file tells last, as BIDS inherits.

    A file that is no sidecar tells nothing: the scan itself is not in doubt.

    Parameters
    ----------
    path : Path
        Of the scan.
    """
    told: dict[str, float] = {}
    for file in sidecars(path):
        try:
            found = documents.read_checked(file, dict)
        except (OSError, DataError) as error:
            log.debug("%s: tells nothing of the scan (%s)", file.name, error)
            continue
        for field in fields(Acquisition):
            value = found.get(field.name)
            if _is_sound(value):
                told[field.name] = float(value)
    return Acquisition(**told)


def sidecars(path: Path) -> list[Path]:
    """Return the JSON files that speak of a scan, the farthest first.

    Of a BIDS name those in its folder and above, up to the dataset's root, whose entities are all
    the scan's; of another name the JSON of the same stem.
    """
    name = bids.parse(path.name)
    if name is None:
        stem = path.name
        for extension in bids.EXTENSIONS:
            if stem.lower().endswith(extension):
                stem = stem[: -len(extension)]
                break
        beside = path.with_name(f"{stem}.json")
        return [beside] if beside.is_file() else []
    folder = path.absolute().parent
    folders = [folder]
    while folder.name.startswith(("sub-", "ses-")) or folder.name == "anat":
        folder = folder.parent
        folders.append(folder)
    found: list[Path] = []
    for near in reversed(folders):
        found += sorted(f for f in near.glob(f"*{name.suffix}.json") if _speaks_of(f.name, name))
    return found


def _speaks_of(file: str, name: bids.Name) -> bool:
    stem = file.removesuffix(".json")
    if stem == name.suffix:
        return True
    entities = set(stem.removesuffix(f"_{name.suffix}").split("_"))
    return entities <= {f"{key}-{value}" for key, value in name.entities}


def _is_sound(value: object) -> TypeGuard[float]:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 < value < 1e4
    )
