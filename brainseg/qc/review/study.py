"""The scans of an output folder as quality control sees them: reports, numbers, outliers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainseg.errors import DataError
from brainseg.qc.measure import schema
from brainseg.qc.measure.numbers import NUMBERS

log = logging.getLogger(__name__)
REPORT = "_report.html"


@dataclass(frozen=True)
class Entry:
    """One scan of a study.

    Attributes
    ----------
    scan : str
        Its name: that of its files up to the ending.
    report : str
        Path of the report, relative to the output folder, with forward slashes.
    contact : str
        Path of the small picture, empty where there is none.
    verdict : str
        ``pass``, ``look``, ``fail``, or empty where the numbers are missing.
    reasons : tuple of str
    numbers : Mapping
        Quality numbers and volumes; None where missing.
    """

    scan: str
    report: str
    contact: str
    verdict: str
    reasons: tuple[str, ...]
    numbers: Mapping[str, float | None]


def entries(out: Path) -> list[Entry]:
    """Find the scans of an output folder, in order of name."""
    found = []
    for report in sorted(out.rglob(f"*{REPORT}")):
        parts = report.relative_to(out).parts
        if any(p.startswith(".") for p in parts):
            continue
        name = report.name.removesuffix(REPORT)
        quality = _quality(report.parent, name)
        contact = next(iter(sorted(report.parent.glob(f"{name}_desc-contact_*.webp"))), None)
        known = {n.key for n in NUMBERS}
        found.append(
            Entry(
                name,
                "/".join(parts),
                "" if contact is None else "/".join(contact.relative_to(out).parts),
                str(quality.get("verdict", "")),
                tuple(quality.get("reasons", ())),
                {
                    k: v
                    for k, v in schema.numbers(quality).items()
                    if k in known or k.startswith("volume_")
                },
            )
        )
    return found


def _quality(folder: Path, name: str) -> dict[str, Any]:
    for path in sorted(folder.glob(f"{name}_desc-quality_*.json")):
        try:
            return schema.read_quality(path)
        except OSError as error:
            log.warning(
                "%s: cannot be read (%s); its numbers are left out", path.name, error.strerror
            )
        except DataError as error:
            log.warning("%s; its numbers are left out", error)
    return {}


@dataclass(frozen=True)
class Outlier:
    """A number of a scan that lies outside 1.5 IQR of the study, with its robust z."""

    scan: str
    key: str
    value: float
    z: float


def outliers(
    numbers: Mapping[str, Mapping[str, float | None]], keys: Sequence[str]
) -> list[Outlier]:
    """Find numbers outside the quartiles by more than 1.5 times the interquartile range.

    Tukey 1977. The robust z beside it is (x - median) / (1.4826 MAD); a MAD of 0 gives 0.
    Fewer than five values say nothing of a distribution.

    Parameters
    ----------
    numbers : mapping
        Scan to its numbers.
    keys : sequence of str
        Which numbers to look at.
    """
    found = []
    for key in keys:
        values = {s: v for s, n in numbers.items() if (v := n.get(key)) is not None}
        if len(values) < 5:
            continue
        x = np.array(list(values.values()), dtype=float)
        low, median, high = np.percentile(x, [25, 50, 75])
        mad = 1.4826 * float(np.median(np.abs(x - median)))
        reach = 1.5 * (high - low)
        for scan, value in values.items():
            if value < low - reach or value > high + reach:
                z = (value - float(median)) / mad if mad > 0 else 0.0
                found.append(Outlier(scan, key, float(value), z))
    return found
