"""Label schemes by name: which numbers of which software stand for which structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from brainseg.config import TABLES
from brainseg.errors import UsageError
from brainseg.tissues import tables
from brainseg.tissues.tables import TissueTable

# Structures that schemes have in common. CWM is the white matter of the cerebrum alone, WM with
# cerebellum and brain stem; GM holds all grey matter.
STRUCTURES = {
    "CSF": "cerebrospinal fluid, ventricles and sulci",
    "GM": "all grey matter",
    "WM": "all white matter, brain stem included",
    "CGM": "cortical grey matter of the cerebrum",
    "CWM": "white matter of the cerebrum",
    "SGM": "deep grey matter",
    "BS": "brain stem",
    "CBM": "cerebellum",
    "VEN": "ventricles",
}


@dataclass(frozen=True)
class Scheme:
    """A label scheme.

    Attributes
    ----------
    name : str
    labels : mapping
        Structure to the numbers that make it up.
    """

    name: str
    labels: Mapping[str, frozenset[int]]


def _numbers(*parts: int | range) -> frozenset[int]:
    found: set[int] = set()
    for part in parts:
        found |= set(part) if isinstance(part, range) else {part}
    return frozenset(found)


def _whole(
    name: str,
    regions: Mapping[str, frozenset[int]],
    *,
    cerebellar_grey: frozenset[int],
    cerebellar_white: frozenset[int],
) -> Scheme:
    """Add what follows from the regions of a parcellation: GM, WM and the cerebellum."""
    grey = regions["CGM"] | regions["SGM"] | cerebellar_grey
    white = regions["CWM"] | regions["BS"] | cerebellar_white
    cerebellum = cerebellar_grey | cerebellar_white
    return Scheme(name, {"GM": grey, "WM": white, **regions, "CBM": cerebellum})


# FreeSurferColorLUT.txt. Its CSF (24) is a part of the sulci only, so that it stands for nothing.
FREESURFER = _whole(
    "freesurfer",
    {
        "CGM": _numbers(3, 42, range(1000, 3000)),
        "CWM": _numbers(2, 41, 77, 78, 79, 85, range(250, 256), range(3000, 5000), 5001, 5002),
        "SGM": _numbers(range(10, 14), 17, 18, 26, 28, range(49, 55), 58, 60),
        "BS": _numbers(16),
        "VEN": _numbers(4, 5, 14, 15, 43, 44, 72),
    },
    cerebellar_grey=_numbers(8, 47),
    cerebellar_white=_numbers(7, 46),
)
# MUSE's atlas list (Doshi et al. 2016), which DLMUSE follows, too.
MUSE = _whole(
    "muse",
    {
        "CGM": _numbers(75, 76, range(100, 210)),
        "CWM": _numbers(44, 45, range(81, 96)),
        "SGM": _numbers(23, range(30, 33), 36, 37, 47, 48, range(55, 63)),
        "BS": _numbers(35),
        "VEN": _numbers(4, 11, range(49, 53)),
    },
    cerebellar_grey=_numbers(38, 39, range(71, 74)),
    cerebellar_white=_numbers(40, 41),
)
FOREIGN = {s.name: s for s in (FREESURFER, MUSE)}


def scheme(name: str) -> Scheme:
    """Return a scheme by name: ``freesurfer``, ``muse``, or one of our own tables.

    Raises
    ------
    UsageError
        When there is no such scheme.
    """
    if name in FOREIGN:
        return FOREIGN[name]
    try:
        return of_table(tables.table(name))
    except UsageError as error:
        known = ", ".join([*FOREIGN, *TABLES])
        raise UsageError(f"label scheme {name!r} is not known; use one of {known}") from error


def of_table(table: TissueTable) -> Scheme:
    """Return the scheme of one of our own tables.

    A table that tells the cerebellum from the cerebrum has their structures; in any other the
    tissues merge into CSF, GM and WM.
    """
    labels: dict[str, set[int]] = {}
    for tissue in table.tissues:
        structure = tissue.parent
        if table.regional:
            structure = {"WM": "CWM"}.get(tissue.abbreviation, tissue.abbreviation)
        labels.setdefault(structure, set()).add(tissue.index)
    return Scheme(table.name, {name: frozenset(numbers) for name, numbers in labels.items()})
