"""Lesion candidates of several visits: looked for together, and counted as new, grown or gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.core.volume import BoolArray
from brainseg.tissues.lesions import LEAST_MM3, in_white_matter

STATES = ("new", "grown", "stable", "shrunk", "vanished", "absent")
"""What a lesion has become since the first visit; ``absent`` is in neither of the two."""

LEAST_SHARE = 0.25
"""Share of its first volume by which a lesion grows or shrinks at least; a volume of a few voxels
of 3 mm is not known better."""
DIFFERENCE_SD = 2.0
"""Standard deviations by which the FLAIR of two visits must differ for a voxel to have changed: a
probability that crosses a half by a little is no change."""
_MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class Lesion:
    """One lesion at all visits.

    Attributes
    ----------
    number : int
        Its label in the map of lesions; the largest one is 1.
    centre : tuple of float
        In mm, in the common world.
    volumes_ml : tuple of float
        By visit.
    changes_ml : tuple of float
        By visit, since the first: what is certain of the change alone.
    states : tuple of str
        By visit, of `STATES`; of the first ``stable`` or ``absent``.
    """

    number: int
    centre: tuple[float, float, float]
    volumes_ml: tuple[float, ...]
    changes_ml: tuple[float, ...]
    states: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether it is not the same at all visits."""
        return any(state in ("new", "grown", "shrunk", "vanished") for state in self.states)


@dataclass(frozen=True, eq=False)
class Lesions:
    """The lesions of a person.

    Attributes
    ----------
    numbers : ndarray of uint16, shape (I, J, K)
        Which lesion a voxel belongs to, at any visit; 0 is none.
    maps : tuple of ndarray of float32, shape (I, J, K)
        Probability of a lesion, by visit.
    found : tuple of Lesion
        The largest first.
    """

    numbers: NDArray[np.uint16]
    maps: tuple[NDArray[np.float32], ...]
    found: tuple[Lesion, ...]

    def count(self, visit: int, state: str) -> int:
        """Return how many lesions have a state at a visit."""
        return sum(lesion.states[visit] == state for lesion in self.found)


def in_common(
    maps: Sequence[NDArray[np.float32]], zooms: tuple[float, float, float]
) -> list[NDArray[np.float32]]:
    """Keep of each session what lies in a candidate of all sessions together.

    Whether a candidate is large enough, and in white matter, is decided once: a lesion that is
    just below a limit at one visit and just above it at another must not be new.

    Parameters
    ----------
    maps : sequence of ndarray of float32, shape (4, I, J, K)
        For each session the posterior of CSF, grey and white matter, and of what none explains.
    zooms : tuple of float
        Voxel sizes in mm.

    Returns
    -------
    list of ndarray of float32, shape (I, J, K)
        Probability of a lesion.
    """
    unexplained = np.max([found[-1] for found in maps], axis=0)
    tissues = np.mean([found[:-1] for found in maps], axis=0)
    kept = in_white_matter(unexplained, tissues, zooms) > 0
    return [np.where(kept, found[-1], np.float32(0)) for found in maps]


def compare_lesions(
    maps: Sequence[NDArray[np.float32]],
    flairs: Sequence[NDArray[np.float32]],
    white: BoolArray,
    affine: NDArray[np.float64],
) -> Lesions:
    """Follow each lesion over the visits.

    A lesion is what is connected where any visit shows a candidate; one that grows into another
    is one with it at all visits. A voxel has changed where the probability crosses a half and the
    FLAIR differs by `DIFFERENCE_SD`. A lesion has changed where the balance of such voxels is at
    least that of the smallest lesion (3 mm across) and `LEAST_SHARE` of its first volume.

    Parameters
    ----------
    maps : sequence of ndarray of float32, shape (I, J, K)
        Probability of a lesion by visit, from `in_common`.
    flairs : sequence of ndarray of float32, shape (I, J, K)
        FLAIR of each visit, intensities matched.
    white : ndarray of bool, shape (I, J, K)
        White matter at all visits, in which the FLAIR differs by noise.
    affine : ndarray, shape (4, 4)
        Voxel indices to the common world in mm.
    """
    numbers = _numbered(maps)
    count = int(numbers.max())
    if count == 0:
        return Lesions(numbers, tuple(maps), ())
    voxel = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    at = np.nonzero(numbers)
    owner = numbers[at]

    def sums(values: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(owner, values, count + 1)[1:] * voxel)

    first = maps[0][at] > 0.5
    volumes = np.stack([sums(m[at]) for m in maps])
    there = np.stack([np.bincount(owner, m[at] > 0.5, count + 1)[1:] > 0 for m in maps])
    balance = np.zeros_like(volumes)
    for s in range(1, len(maps)):
        gained, lost = _certain(first, maps[s][at] > 0.5, flairs[0], flairs[s], white, at)
        balance[s] = sums(gained) - sums(lost)
    centres = ndimage.center_of_mass(numbers > 0, numbers, range(1, count + 1))
    places = np.array(centres) @ affine[:3, :3].T + affine[:3, 3]
    found = tuple(
        Lesion(
            k + 1,
            (float(places[k, 0]), float(places[k, 1]), float(places[k, 2])),
            tuple(volumes[:, k].tolist()),
            tuple(balance[:, k].tolist()),
            tuple(_state(there[0, k], there[s, k], volumes[0, k], balance[s, k])
                  for s in range(len(maps))),
        )
        for k in range(count)
    )  # fmt: skip
    return Lesions(numbers, tuple(maps), found)


def _numbered(maps: Sequence[NDArray[np.float32]]) -> NDArray[np.uint16]:
    """Give numbers to the candidates of all visits together, the largest first, with their rims."""
    union = np.max(maps, axis=0)
    labels, count = ndimage.label(union > 0.5, np.ones((3, 3, 3)))
    if count == 0:
        return np.zeros(union.shape, np.uint16)
    nearest = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    labels = np.where(union > 0, labels[tuple(nearest)], 0)
    size = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    rank = np.zeros(count + 1, np.uint16)
    rank[1 + np.argsort(-size, kind="stable")] = np.arange(1, count + 1)
    return rank[labels]


def _certain(
    first: BoolArray,
    later: BoolArray,
    flair_first: NDArray[np.float32],
    flair_later: NDArray[np.float32],
    white: BoolArray,
    at: tuple[NDArray[np.intp], ...],
) -> tuple[BoolArray, BoolArray]:
    """Return which voxels became lesion, and which ceased to be, beyond the FLAIRs' noise."""
    usual = (flair_later[white] - flair_first[white]).astype(np.float64)
    middle = float(np.median(usual)) if usual.size else 0.0
    spread = _MAD_TO_SD * float(np.median(np.abs(usual - middle))) if usual.size else 0.0
    difference = flair_later[at] - flair_first[at] - middle
    least = DIFFERENCE_SD * spread
    return later & ~first & (difference > least), first & ~later & (difference < -least)


def _state(before: bool, after: bool, first_ml: float, change_ml: float) -> str:
    """Name what became of a lesion; `before` and `after` say whether it is there."""
    enough = abs(change_ml) * 1000 >= LEAST_MM3
    if not before and not after:
        return "absent"
    if not before:
        return "new" if enough else "stable"
    if not after:
        return "vanished" if enough else "stable"
    if not enough or abs(change_ml) < LEAST_SHARE * first_ml:
        return "stable"
    return "grown" if change_ml > 0 else "shrunk"
