"""The one table of tissues: index, name, abbreviation, colour, parent class, BIDS label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from brainseg.config import count_classes


@dataclass(frozen=True)
class Tissue:
    """One row of a tissue table.

    Attributes
    ----------
    index : int
        Value in the label map; 0 is background.
    name, abbreviation : str
        Plain name, and the short form used in file names (``label-<ABBR>_probseg``).
    colour : str
        ``#rrggbb``, distinguishable with the common colour-vision deficiencies.
    parent : str
        The class of the three-tissue set it merges into: ``CSF``, ``GM`` or ``WM``; empty for what
        is no brain.
    bids : int or None
        Index of the BIDS common derivatives label, where there is one.
    """

    index: int
    name: str
    abbreviation: str
    colour: str
    parent: str
    bids: int | None = None


@dataclass(frozen=True)
class TissueTable:
    """A named set of tissues, of `THREE` and intensity tables in order from dark to bright on T1w.

    The order is that of the columns of an array; what stands in a label map is `values`.
    """

    name: str
    tissues: tuple[Tissue, ...]

    @property
    def values(self) -> NDArray[np.uint8]:
        """Value in the label map of each tissue, shape (K,); for example of the likeliest."""
        return np.array([t.index for t in self.tissues], np.uint8)

    @property
    def by_value(self) -> tuple[Tissue, ...]:
        """The tissues in order of their value in the label map."""
        return tuple(sorted(self.tissues, key=lambda t: t.index))

    @property
    def parents(self) -> tuple[int, ...]:
        """For each tissue of the brain the position of its parent in `THREE` (CSF, GM, WM)."""
        order = [t.abbreviation for t in THREE.tissues]
        return tuple(order.index(t.parent) for t in self.tissues if t.parent)

    @property
    def regional(self) -> bool:
        """Whether place tells some of its tissues apart, which then share their intensities."""
        return list(self.parents) != sorted(self.parents)

    @property
    def of_brain(self) -> TissueTable:
        """The table whose tissues are fitted inside the brain mask: itself, `THREE` for `HEAD`."""
        return self if all(t.parent for t in self.tissues) else THREE

    def __len__(self) -> int:
        return len(self.tissues)


# The values are those that fMRIPrep writes and expects (it takes 2 for white matter whatever the
# table beside a label map says), and the BIDS common labels.
THREE = TissueTable(
    "three",
    (
        Tissue(3, "Cerebrospinal fluid", "CSF", "#4a66d8", "CSF", 3),
        Tissue(1, "Grey matter", "GM", "#e88a1a", "GM", 1),
        Tissue(2, "White matter", "WM", "#ffffff", "WM", 2),
    ),
)

# Intensity alone knows no anatomy: the names say which intensities a class holds, no more.
INTENSITY = TissueTable(
    "intensity",
    (
        Tissue(1, "Pure cerebrospinal fluid", "CSF", "#4a66d8", "CSF", 3),
        Tissue(2, "Boundary of CSF and grey matter", "CSFGM", "#86cbf0", "CSF"),
        Tissue(3, "Darker grey matter", "GMD", "#99350d", "GM"),
        Tissue(4, "Brighter grey matter", "GMB", "#e88a1a", "GM"),
        Tissue(5, "Boundary of grey and white matter", "GMWM", "#f3e15a", "WM"),
        Tissue(6, "Pure white matter", "WM", "#ffffff", "WM", 2),
    ),
)

SIX = TissueTable(
    "six",
    (
        Tissue(1, "Cerebrospinal fluid", "CSF", "#4a66d8", "CSF", 3),
        Tissue(2, "Cortical grey matter", "CGM", "#e88a1a", "GM", 8),
        Tissue(3, "White matter", "WM", "#ffffff", "WM", 2),
        Tissue(4, "Deep grey matter", "SGM", "#a8246a", "GM", 9),
        Tissue(5, "Brain stem", "BS", "#5c4a00", "WM", 10),
        Tissue(6, "Cerebellum", "CBM", "#33bbdb", "GM", 11),
    ),
)


# Indices are those of the BIDS common labels as far as these go.
HEAD = TissueTable(
    "head",
    (
        Tissue(1, "Grey matter", "GM", "#e88a1a", "GM", 1),
        Tissue(2, "White matter", "WM", "#ffffff", "WM", 2),
        Tissue(3, "Cerebrospinal fluid", "CSF", "#4a66d8", "CSF", 3),
        Tissue(4, "Bone", "B", "#f0dc78", "", 4),
        Tissue(5, "Soft tissue", "ST", "#c85050", "", 5),
        Tissue(6, "Air", "AIR", "#28323c", ""),
    ),
)


def table(name: str) -> TissueTable:
    """Look a table up by name, or make one of ``N`` unnamed intensity classes.

    Parameters
    ----------
    name : str
        ``six``, ``three``, ``head``, ``intensity``, or a number of classes from 2 to 12.

    Raises
    ------
    UsageError
        When there is no such table.
    """
    n_classes = count_classes(name)
    named = {t.name: t for t in (SIX, THREE, HEAD, INTENSITY)} | {"6": SIX, "3": THREE}
    return named[name] if name in named else _numbered(n_classes)


def volumes_ml(fractions: NDArray[np.float32], voxel_ml: float) -> dict[str, float]:
    """Return the volume of CSF, GM and WM in mL by abbreviation.

    Parameters
    ----------
    fractions : ndarray of float32, shape (n_mask, 3)
        Share of each in each voxel.
    voxel_ml : float
        Volume of a voxel.
    """
    sums = fractions.sum(axis=0, dtype=np.float64) * voxel_ml
    return {t.abbreviation: float(v) for t, v in zip(THREE.tissues, sums, strict=True)}


REPEATABILITY_ALONE = MappingProxyType({"CSF": 12.0, "GM": 6.2, "WM": 3.4, "brain": 2.4})
"""By how much the volumes of one scan repeat, in per cent: root mean square difference between two
scans that were segmented each by itself, over the square root of two. Three people who hardly
changed, the default route, T1w alone (`pipelines/evaluate_longitudinal.py`): two scans of 1 mm
within 90 days, and two pairs with slices of 3 mm, one of them with a contrast agent at one visit.
It is not the difference from a rater. Three pairs say it to two fifths."""


def volume_errors_ml(volumes: Mapping[str, float]) -> dict[str, float]:
    """Return in mL by how much the volumes of one scan repeat, from `REPEATABILITY_ALONE`.

    Parameters
    ----------
    volumes : mapping
        mL of CSF, GM and WM.
    """
    all_of_them = {**volumes, "brain": volumes["GM"] + volumes["WM"]}
    return {t: percent / 100 * all_of_them[t] for t, percent in REPEATABILITY_ALONE.items()}


def _numbered(n: int) -> TissueTable:
    """Classes without anatomical names; thirds of the intensity order give the parents."""
    tissues = []
    for i in range(n):
        grey = 40 + round(200 * i / (n - 1))
        parent = THREE.tissues[min(2, 3 * i // n)].abbreviation
        colour = f"#{grey:02x}{grey:02x}{255 - grey // 2:02x}"
        tissues.append(Tissue(i + 1, f"Intensity class {i + 1}", f"C{i + 1}", colour, parent))
    return TissueTable(str(n), tuple(tissues))
