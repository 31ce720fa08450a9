"""Gather the sessions that show one head, in the space in the middle of them."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg.alignment.likeness import likeness
from brainseg.alignment.midspace import MidSpace, mid_space
from brainseg.alignment.sessions import Session, align_sessions
from brainseg.core.parallel import each
from brainseg.core.volume import BoolArray
from brainseg.errors import DataError

log = logging.getLogger(__name__)

LEAST_LIKENESS = 0.65
"""Least likeness of aligned sessions, halfway between the least of one person's visits (0.85, with
a contrast agent at one of them) and the largest of different people (0.46)."""


@dataclass(frozen=True, eq=False)
class Gathered:
    """Sessions that show one head, aligned.

    Attributes
    ----------
    kept : tuple of int
        Which of the sessions that were given.
    left_out : dict
        The others, and why each one is none of them.
    space : MidSpace
    aligned : list of ndarray of float32, shape (I, J, K)
        The T1w of each session in the common space.
    measured : ndarray of bool, shape (I, J, K)
        Where every session was measured: in its field of view, and not stripped away.
    agreed : ndarray of bool, shape (I, J, K)
        What is brain by every session's own mask, and measured.
    likeness : float
        The least of two of them.
    """

    kept: tuple[int, ...]
    left_out: dict[int, str]
    space: MidSpace
    aligned: list[NDArray[np.float32]]
    measured: BoolArray
    agreed: BoolArray
    likeness: float


def gather(visits: Sequence[Session], *, threads: int = 1) -> Gathered:
    """Align sessions, and leave out those that do not look like most of them.

    Where all are alike, that is all. Else one session bends the space in the middle for the
    others, and the sessions are compared two by two: the largest group in which any two are alike
    is aligned without the rest. The result does not depend on the threads.

    Raises
    ------
    DataError
        When no two are alike, or two groups are equally large.
    """
    everyone = tuple(range(len(visits)))
    found = _aligned(visits, everyone, {}, threads)
    if found.likeness >= LEAST_LIKENESS:
        return found
    if len(visits) == 2:
        raise DataError(
            f"the sessions look like different people (likeness {found.likeness:.2f} after "
            f"alignment, {LEAST_LIKENESS:g} is the least); give scans of one person only"
        )
    alike = np.eye(len(visits))
    for s, t in itertools.combinations(everyone, 2):
        alike[s, t] = alike[t, s] = _aligned(visits, (s, t), {}, threads).likeness
    kept = _largest_group(alike)
    left_out = {}
    for i in sorted(set(everyone) - set(kept)):
        best = max(alike[i, k] for k in kept)
        left_out[i] = (
            f"does not look like the other sessions (likeness {best:.2f} after alignment, "
            f"{LEAST_LIKENESS:g} is the least): another person, or a head that moved"
        )
    found = _aligned(visits, kept, left_out, threads)
    if found.likeness < LEAST_LIKENESS:
        raise DataError(
            f"the sessions look like different people (likeness {found.likeness:.2f} after "
            "alignment); give scans of one person only"
        )
    return found


def _largest_group(alike: NDArray[np.float64]) -> tuple[int, ...]:
    """Return the largest group of sessions of which any two are alike."""
    n = len(alike)
    for size in range(n - 1, 1, -1):
        groups = [
            group
            for group in itertools.combinations(range(n), size)
            if all(alike[s, t] >= LEAST_LIKENESS for s, t in itertools.combinations(group, 2))
        ]
        if len(groups) == 1:
            return groups[0]
        if groups:
            # Groups that share sessions are one person of whom one pair is less alike.
            best = max(groups, key=lambda g: sum(alike[s, t] for s in g for t in g))
            if all(set(group) & set(best) for group in groups):
                return best
            break
    raise DataError(
        "the sessions look like different people, and no group of them is larger than the others; "
        "give scans of one person only"
    )


def _aligned(
    visits: Sequence[Session], kept: tuple[int, ...], left_out: dict[int, str], threads: int
) -> Gathered:
    """Align some of the sessions, and say how alike they are."""
    chosen = [visits[i] for i in kept]
    volumes = [visit.volume for visit in chosen]
    space = mid_space(volumes, align_sessions(chosen, threads=threads))
    aligned = each(lambda i: space.bring(i, volumes[i]), range(len(volumes)), threads)
    measured, agreed = np.ones(space.shape, bool), np.ones(space.shape, bool)
    for i, visit in enumerate(chosen):
        measured &= space.seen(i, visit.volume)
        brain = _brought_mask(space, i, visit)
        agreed &= brain
        if visit.stripped:
            measured &= brain
    agreed &= measured
    alike = likeness(aligned, agreed, space.zooms) if agreed.any() else 0.0
    return Gathered(kept, left_out, space, aligned, measured, agreed, alike)


def _brought_mask(space: MidSpace, i: int, visit: Session) -> BoolArray:
    share = visit.volume.with_data(visit.mask.astype(np.float32))
    brought: BoolArray = space.bring(i, share, order=1) > 0.5
    return brought
