"""Tissues of every voxel, from the fitted components and the neighbours' labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brainseg.core.parallel import each, parts
from brainseg.core.volume import Array, BoolArray
from brainseg.tissues.lesions import LesionModel, in_white_matter
from brainseg.tissues.model import NEVER, WHITE, Floats, Model, anchors_of, log_mixing, place
from brainseg.tissues.neighbourhood import mean_field
from brainseg.tissues.partial_volume import component_shares, expected_fractions
from brainseg.tissues.scan import Scan
from brainseg.tissues.tables import THREE

T = TypeVar("T")

# Small enough that a part's arrays stay near the processor.
_CHUNK = 1 << 14
# Log-evidence of what is impossible; far enough from 0, near enough for float32.
_NEVER = -60.0


@dataclass(frozen=True, eq=False)
class Voxels:
    """The tissues of every voxel inside the mask.

    Attributes
    ----------
    responsibilities : ndarray of float32, shape (n, K)
    fractions : ndarray of float32, shape (n, 3)
        Shares of CSF, GM and WM.
    three : ndarray of uint8, shape (n,)
        The most probable of CSF (1), GM (2) and WM (3).
    lesions : ndarray of float32, shape (n,), or None
    """

    responsibilities: NDArray[np.float32]
    fractions: NDArray[np.float32]
    three: NDArray[np.uint8]
    lesions: NDArray[np.float32] | None


def decide(
    scan: Scan,
    model: Model,
    *,
    neighbours: Neighbours,
    atlas: NDArray[np.float32] | None = None,
    lesions: LesionModel | Array | None = None,
    allowed: NDArray[np.bool_] | None = None,
    threads: int = 1,
) -> Voxels:
    """Combine each voxel's likelihood with its neighbours' labels (mean field).

    Parameters
    ----------
    scan : Scan
    model : Model
    neighbours : Neighbours
        Voxel sizes and strength of the Markov prior.
    atlas : ndarray of float32, shape (7, n), optional
        Spatial prior of the voxels inside the mask.
    lesions : LesionModel or ndarray, shape (n,), optional
        With the model, and a FLAIR scan, lesion candidates are looked for; else these are known,
        or the probability of one is. All count as white matter, which they are a disease of.
    allowed : ndarray of bool, shape (n, M), optional
        Components that each voxel may come from.
    threads : int
        The result does not depend on it.
    """
    evidence = weigh(scan, model, model.groups, atlas, threads, allowed=allowed)
    sick = None
    if lesions is not None:
        if isinstance(lesions, LesionModel):
            maps = unexplained(scan, model, lesions, neighbours, atlas, threads)
            sick = in_white_matter(maps[-1], maps[:-1], neighbours.zooms).ravel()
        else:
            sick = np.zeros(scan.inside.size, np.float32)
            sick[evidence.flat] = lesions
        evidence = evidence.white_where(sick, model)
    posterior = neighbours.posterior(evidence.groups, scan.inside, threads)
    groups = np.array(model.groups)

    def finish(rows: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        at = evidence.flat[rows]
        share = np.exp(evidence.components[rows]) * posterior[:, at][groups].T
        share /= share.sum(axis=1, keepdims=True)
        if sick is not None:
            white = anchors_of(model.components)[WHITE]
            share *= 1 - sick[at, None]
            share[:, white] += sick[at]
        shares = component_shares(scan.values(at), model)
        return share, expected_fractions(share, shares)

    found = _each(finish, len(evidence.flat), threads)
    share, fractions = (np.concatenate(part) for part in zip(*found, strict=True))
    responsibilities = np.zeros((len(share), max(model.tissues) + 1), np.float32)
    for k, tissue in enumerate(model.tissues):
        responsibilities[:, tissue] += share[:, k]
    three = (share @ np.eye(3, dtype=np.float32)[list(model.parents)]).argmax(axis=1)
    inside = None if sick is None else sick[evidence.flat]
    return Voxels(responsibilities, fractions, THREE.values[three], inside)


@dataclass(frozen=True)
class Neighbours:
    """The Markov prior: voxel sizes in mm, and the strength of `mean_field`."""

    zooms: tuple[float, float, float]
    strength: float

    def posterior(
        self, evidence: NDArray[np.float32], inside: BoolArray, threads: int
    ) -> NDArray[np.float32]:
        """Posterior of groups (G, box) given their log evidence (G, box)."""
        return mean_field(
            evidence.reshape(-1, *inside.shape),
            inside,
            zooms=self.zooms,
            strength=self.strength,
            threads=threads,
        ).reshape(len(evidence), -1)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the intensities alone say of every voxel.

    Attributes
    ----------
    flat : ndarray of int, shape (n,)
        Flat indices of the voxels in the box.
    groups : ndarray of float32, shape (G, box)
        Log evidence of each group of components, up to a constant per voxel; with a lesion model
        a last row for what no tissue explains.
    components : ndarray of float32, shape (n, M)
        Log share of each component in its group.
    """

    flat: NDArray[np.intp]
    groups: NDArray[np.float32]
    components: NDArray[np.float32]

    def white_where(self, sick: NDArray[np.float32], model: Model) -> Evidence:
        """Let the evidence say white matter as far as a map of lesions (box,) says lesion."""
        white = model.groups[anchors_of(model.components)[WHITE]]
        at = np.flatnonzero(sick)
        healthy = np.exp(self.groups[:, at] - self.groups[:, at].max(axis=0))
        healthy *= (1 - sick[at]) / healthy.sum(axis=0)
        healthy[white] += sick[at]
        groups = self.groups.copy()
        groups[:, at] = np.log(np.maximum(healthy, np.exp(np.float32(_NEVER))))
        return replace(self, groups=groups)


def weigh(
    scan: Scan,
    model: Model,
    group_of: tuple[int, ...],
    atlas: NDArray[np.float32] | None,
    threads: int,
    *,
    lesions: LesionModel | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> Evidence:
    """Return the evidence of each group and component in every voxel."""
    flat = np.flatnonzero(scan.inside)
    groups = np.array(group_of)
    n_groups = int(groups.max()) + 1

    def weigh_rows(rows: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        places = None if atlas is None else place(model.components, atlas[:, rows])
        values = scan.values(flat[rows])
        joint = model.log_joint(values, places)
        if allowed is not None:
            joint = np.where(allowed[rows], joint, NEVER)
        top = joint.max(axis=1, keepdims=True)
        joint -= top
        of_groups = np.empty((n_groups + (lesions is not None), len(values)), np.float32)
        if lesions is not None:
            mixing = log_mixing(model.weights, places)
            other = lesions.log_joint(values, mixing, model.means, model.covariances)
            of_groups[-1] = np.maximum(other - top[:, 0], _NEVER)
        for group in range(n_groups):
            total = np.exp(joint[:, groups == group]).sum(axis=1) + 1e-30
            of_groups[group] = np.log(total)
            joint[:, groups == group] -= np.log(total)[:, None]
        return of_groups, joint.astype(np.float32)

    found = _each(weigh_rows, len(flat), threads)
    evidence = np.zeros((n_groups + (lesions is not None), scan.inside.size), np.float32)
    evidence[:, flat] = np.concatenate([part[0] for part in found], axis=1)
    return Evidence(flat, evidence, np.concatenate([part[1] for part in found]))


def _each(work: Callable[[slice], T], n: int, threads: int) -> list[T]:
    """Do `n` rows in chunks."""
    return each(work, parts(n, _CHUNK), threads)


def unexplained(
    scan: Scan,
    model: Model,
    lesions: LesionModel,
    neighbours: Neighbours,
    atlas: NDArray[np.float32] | None,
    threads: int,
) -> NDArray[np.float32]:
    """Posterior of CSF, grey and white matter, and of what none explains, shape (4, i, j, k)."""
    # Parents are CSF, grey and white in every table: the cerebellum has white-matter lesions, too.
    evidence = weigh(scan, model, model.parents, atlas, threads, lesions=lesions)
    posterior = neighbours.posterior(evidence.groups, scan.inside, threads)
    return posterior.reshape(-1, *scan.inside.shape)


def moments(
    scan: Scan, responsibilities: NDArray[np.float32], threads: int = 1
) -> tuple[Floats, Floats, Floats]:
    """Shares, means and covariances of the voxels of each tissue, by their responsibilities."""
    flat = np.flatnonzero(scan.inside)
    d = len(scan.channels)

    def add_up(rows: slice) -> tuple[Floats, Floats, Floats]:
        r = responsibilities[rows].astype(np.float64)
        x = scan.values(flat[rows])  # about 0..1: squares lose nothing
        return r.sum(axis=0), r.T @ x, np.einsum("nk,nd,ne->kde", r, x, x, optimize=True)

    sums = _each(add_up, len(flat), threads)
    size, total, square = (np.sum(part, axis=0) for part in zip(*sums, strict=True))
    size = size + 1e-9
    means = total / size[:, None]
    covariances = square / size[:, None, None] - means[:, :, None] * means[:, None, :]
    return size / size.sum(), means, covariances + 1e-6 * np.eye(d)
