"""One brain in CSF, in a skull, in skin: what a mixture of voxels does not know by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.anatomy.classes import AROUND
from brainseg.anatomy.head import map_around
from brainseg.core.masking import bounding_box, closed, largest_part, near
from brainseg.core.volume import BoolArray, Volume
from brainseg.errors import DataError
from brainseg.tissues.whole_head import AIR, BONE, CSF, SOFT, Gaussians, fit_around

Zooms = tuple[float, float, float]
Labels = NDArray[np.uint8]

LEAST_BONE_ML = 150.0
"""Volume that the network sees of a skull at least."""
SMALLEST_BONE_ML, SMALLEST_AIR_ML = 0.3, 0.1
"""Pieces of bone, and of air inside the head, that are smaller are noise."""
SEALED_MM = 3.0
"""Radius of the ball that closes gaps of the skull: vessels and sutures, but no foramen at its base
that matters; only where the network expects bone."""
EXPECTED = 0.3
"""Probability of bone from which the network expects it."""
CLOSING_MM = 10.0
"""Radius of the ball that bridges fissures, as for the estimate from the mask alone."""
DURA_MM = 3.0
"""How far from brain and CSF the dura and its sinuses may reach."""
INTRACRANIAL = (
    "what lies inside the inner table of the skull: brain, CSF, and soft tissue (dura, venous "
    f"sinuses) up to {DURA_MM:g} mm from them or in fissures that a ball of {CLOSING_MM:g} mm "
    "bridges, down to the end of the brain mask at about the foramen magnum"
)
"""Definition of the total intracranial volume of the whole head."""
TOUCHING = "CSF around the brain"
"""Name of the step that puts CSF between brain and bone, soft tissue or air."""


@dataclass(frozen=True, eq=False)
class WholeHead:
    """The tissues of `brainseg.tissues.tables.HEAD` on the scan's grid.

    Attributes
    ----------
    labels : ndarray of uint8, shape (I, J, K)
        1 to 6 in every voxel.
    around : ndarray of float32, shape (4, I, J, K)
        Probability of CSF, bone, soft tissue and air outside the brain mask; 0 inside it.
    gaussians : Gaussians
        What was fitted around the brain.
    moved : mapping of str to int
        Voxels that got another label for the sake of the topology, by reason.
    intracranial : ndarray of bool, shape (I, J, K)
        What lies inside the inner table of the skull, as `intracranial` has it.
    """

    labels: Labels
    around: NDArray[np.float32]
    gaussians: Gaussians
    moved: Mapping[str, int]
    intracranial: BoolArray

    def described(self) -> dict[str, Any]:
        """Return what was estimated beside the maps, as a record holds it."""
        fitted = self.gaussians
        return {
            "moved_voxels": dict(self.moved),
            "components": [list(AROUND)[t] for t in fitted.tissue],
            "shares": fitted.shares.tolist(),
            "means": fitted.means.tolist(),
            "covariances": fitted.covariances.tolist(),
            "log_likelihood": list(fitted.history),
        }


def segment_head(
    scans: Sequence[Volume], brain: Labels, *, smooth: float | None = None, threads: int = 1
) -> WholeHead:
    """Find the tissues around a brain.

    Parameters
    ----------
    scans : sequence of Volume
        T1w scan, and further contrasts on its grid.
    brain : ndarray of uint8, shape (I, J, K)
        GM (1), WM (2) and CSF (3); 0 outside the mask.
    smooth : float, optional
        Strength of the Markov prior.
    threads : int
        The result does not depend on it.

    Raises
    ------
    DataError
        When the network sees no skull.
    """
    scan = scans[0]
    prior = map_around(scan, threads=threads)
    bone = prior[list(AROUND).index("bone")]
    bone_ml = float(bone.sum(dtype=np.float64)) * scan.voxel_volume
    if bone_ml < LEAST_BONE_ML:
        raise DataError(
            f"the network sees only {bone_ml:.0f} mL of bone in this scan, and a skull has more "
            f"than {LEAST_BONE_ML:g}; was it removed, or cut off? Use `tissues` six or three"
        )
    around, gaussians = fit_around(
        [s.data for s in scans], brain, scan.zooms, prior, smooth=smooth, threads=threads
    )
    return assemble(brain, around, gaussians, expected=bone, zooms=scan.zooms)


def assemble(
    brain: Labels,
    around: NDArray[np.float32],
    gaussians: Gaussians,
    *,
    expected: NDArray[np.float32],
    zooms: Zooms,
) -> WholeHead:
    """Put the brain into its head, and give that the topology of one.

    Parameters
    ----------
    brain : ndarray of uint8, shape (I, J, K)
        GM (1), WM (2) and CSF (3); 0 outside the mask. Grey and white matter stay as they are.
    around, gaussians
        From `brainseg.tissues.whole_head.fit_around`. `around` is changed: where a label moves,
        the new one becomes certain.
    expected : ndarray of float32, shape (I, J, K)
        Where the network expects bone.
    zooms : tuple of float
        In mm.
    """
    labels = (around.argmax(axis=0) + CSF).astype(np.uint8)
    inside = brain > 0
    labels[inside] = brain[inside]
    before = labels.copy()
    moved = _tidy(labels, around, expected, zooms)
    at = labels != before
    around[:, at] = labels[at] == np.arange(CSF, CSF + 4)[:, None]
    return WholeHead(labels, around, gaussians, moved, intracranial(labels, zooms))


def _tidy(
    labels: Labels, around: NDArray[np.float32], expected: NDArray[np.float32], zooms: Zooms
) -> dict[str, int]:
    """Move labels in place; return how many voxels were moved, by reason."""
    voxel_ml = float(np.prod(zooms)) / 1000
    moved: dict[str, int] = {}

    def move(reason: str, at: BoolArray, label: int | None = None) -> None:
        flat = np.flatnonzero(at)
        moved[reason] = len(flat)
        if label is None:
            # The next probable takes the place of what may not be.
            others = around.reshape(4, -1)[:, flat]
            others[labels.ravel()[flat] - CSF, np.arange(len(flat))] = -1
            labels.ravel()[flat] = CSF + others.argmax(axis=0)
        else:
            labels.ravel()[flat] = label

    move("specks of bone", _small(labels == BONE, SMALLEST_BONE_ML / voxel_ml))
    move("air pockets", _small(labels == AIR, SMALLEST_AIR_ML / voxel_ml))
    fluid = labels <= CSF
    move("CSF apart from the brain", fluid & ~largest_part(fluid)[0], SOFT)
    head = labels != AIR
    move("specks around the head", head & ~largest_part(head)[0], AIR)
    gaps = closed(labels == BONE, SEALED_MM, zooms) & (expected > EXPECTED) & (labels > BONE)
    move("gaps of the skull", gaps, BONE)
    brain = labels < CSF
    move(TOUCHING, ndimage.binary_dilation(brain) & (labels > CSF), CSF)
    return moved


def intracranial(labels: Labels, zooms: Zooms) -> BoolArray:
    """Return what lies inside the inner table of the skull, down to the end of the brain mask.

    Brain and CSF, their fissures closed by a ball of `CLOSING_MM`, and soft tissue (dura, venous
    sinuses) not further from them than `DURA_MM`, as far as none of it is bone or air.

    Parameters
    ----------
    labels : ndarray of uint8, shape (I, J, K)
        By `brainseg.tissues.tables.HEAD`.
    zooms : tuple of float
        In mm.
    """
    fluid = labels <= CSF
    bottom = bounding_box(fluid)[2].start
    around = near(fluid, DURA_MM, zooms) | closed(fluid, CLOSING_MM, zooms)
    around[..., :bottom] = False
    out: BoolArray = fluid | (around & (labels == SOFT))
    return out


def _small(mask: BoolArray, least: float) -> BoolArray:
    """Return the connected pieces (faces touch) that have fewer voxels."""
    pieces, n = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel(), minlength=n + 1)
    small = sizes < least
    small[0] = False
    out: BoolArray = small[pieces]
    return out
