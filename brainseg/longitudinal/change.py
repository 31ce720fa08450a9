"""What changed between visits, in mL and per cent and per year, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

REPEATABILITY = MappingProxyType({"CSF": 1.49, "GM": 1.35, "WM": 1.53, "brain": 0.30})
"""Root mean square of the change in per cent between the visits of three people who hardly changed
(`pipelines/evaluate_longitudinal.py`): two scans of 1 mm within 90 days, and two pairs of clinical
scans with slices of 3 mm, one of them on two grids and with a contrast agent at one visit. What
changed in truth is in it, so it is rather too large; three choices in
`brainseg.longitudinal.matching` were made on the same pairs, which makes it rather too small.
Three pairs say it to two fifths."""

# Two visits closer than this say nothing of a rate (years; a fortnight).
LEAST_YEARS = 0.04


@dataclass(frozen=True)
class Change:
    """One tissue at one visit, against the first visit.

    Attributes
    ----------
    session, tissue : str
    years : float or None
        Since the first visit, where that is known.
    volume_ml, change_ml, change_percent : float
        The changes are 0 at the first visit.
    percent_per_year : float or None
    standard_error_percent : float or None
        Of `change_percent`, from `REPEATABILITY`; None where that was not measured.
    """

    session: str
    tissue: str
    years: float | None
    volume_ml: float
    change_ml: float
    change_percent: float
    percent_per_year: float | None
    standard_error_percent: float | None


def changes(
    labels: Sequence[str],
    volumes: Sequence[Mapping[str, float]],
    years: Sequence[float] | None = None,
) -> list[Change]:
    """Compare the volumes of every visit with those of the first.

    Parameters
    ----------
    labels : sequence of str
        Names of the visits, the first one first.
    volumes : sequence of mapping
        For each visit the mL of every tissue.
    years : sequence of float, optional
        Between the first visit and each.

    Returns
    -------
    list of Change
        By tissue, then by visit.
    """
    rows = []
    for tissue, first in volumes[0].items():
        for s, (label, found) in enumerate(zip(labels, volumes, strict=True)):
            since = None if years is None else years[s]
            ml = found[tissue] - first
            percent = 100 * ml / first if first > 0 else 0.0
            rate = None if since is None or abs(since) < LEAST_YEARS else percent / since
            error = REPEATABILITY.get(tissue) if s else None
            rows.append(Change(label, tissue, since, found[tissue], ml, percent, rate, error))
    return rows
