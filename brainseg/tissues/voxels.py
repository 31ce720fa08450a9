"""What every voxel is: the fitted components and the neighbours, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brainseg.core.parallel import each, parts
from brainseg.tissues.lesions import in_white_matter, log_unexplained
from brainseg.tissues.model import Floats, Model, log_mixing, place
from brainseg.tissues.neighbourhood import mean_field
from brainseg.tissues.partial_volume import component_shares, expected_fractions
from brainseg.tissues.scan import Scan

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
    variance : ndarray, shape (3,)
        Sum over the voxels of the variance of their shares.
    lesions : ndarray of float32, shape (n,), or None
    """

    responsibilities: NDArray[np.float32]
    fractions: NDArray[np.float32]
    three: NDArray[np.uint8]
    variance: Floats
    lesions: NDArray[np.float32] | None


def decide(
    scan: Scan,
    model: Model,
    n_tissues: int,
    *,
    zooms: tuple[float, float, float],
    strength: float,
    atlas: NDArray[np.float32] | None = None,
    flair: int | None = None,
    threads: int = 1,
) -> Voxels:
    """Give every voxel its tissues, neighbours heard.

    Parameters
    ----------
    scan : Scan
    model : Model
    n_tissues : int
        Length of the table.
    zooms : tuple of float
        Voxel sizes in mm.
    strength : float
        Of the neighbourhood, see `brainseg.tissues.neighbourhood.mean_field`.
    atlas : ndarray of float32, shape (7, n), optional
        Spatial prior of the voxels inside the mask.
    flair : int, optional
        Channel of a FLAIR scan: lesion candidates are looked for, and count as white matter,
        which they are a disease of.
    threads : int
        The result does not depend on it.
    """
    flat = np.flatnonzero(scan.inside)
    evidence, logs = _evidence(scan, model, model.groups, atlas, threads)
    lesions = None
    if flair is not None:
        lesions = _lesions(scan, model, zooms, strength, atlas, flair, threads)
        evidence = _white_where(lesions, evidence, model.groups[_white(model)])
    shape = (len(evidence), *scan.inside.shape)
    posterior = mean_field(
        evidence.reshape(shape), scan.inside, zooms=zooms, strength=strength, threads=threads
    ).reshape(len(evidence), -1)
    groups = np.array(model.groups)
    parents = np.eye(3, dtype=np.float32)[list(model.parents)]
    responsibilities = np.zeros((len(flat), n_tissues), np.float32)
    fractions = np.empty((len(flat), 3), np.float32)
    three = np.empty(len(flat), np.uint8)

    def finish(rows: slice) -> Floats:
        at = flat[rows]
        share = np.exp(logs[rows]) * posterior[:, at][groups].T
        share /= share.sum(axis=1, keepdims=True)
        if lesions is not None:
            share *= 1 - lesions[at, None]
            share[:, _white(model)] += lesions[at]
        for k, tissue in enumerate(model.tissues):
            responsibilities[rows, tissue] += share[:, k]
        three[rows] = (share @ parents).argmax(axis=1) + 1
        shares = component_shares(scan.values(at), model)
        fractions[rows], spread = expected_fractions(share, shares)
        return spread

    variance = np.sum(_each(finish, len(flat), threads), axis=0)
    inside = None if lesions is None else lesions[flat]
    return Voxels(responsibilities, fractions, three, variance, inside)


def _evidence(
    scan: Scan,
    model: Model,
    group_of: tuple[int, ...],
    atlas: NDArray[np.float32] | None,
    threads: int,
    flair: int | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log evidence of each group in the box, and of each component within its group.

    Shapes (G, box) and (n, M). With FLAIR a last row is added for what no tissue explains.
    """
    flat = np.flatnonzero(scan.inside)
    groups = np.array(group_of)
    n_groups = int(groups.max()) + 1
    logs = np.empty((len(flat), len(groups)), np.float32)
    rows = n_groups + (flair is not None)
    evidence = np.zeros((rows, scan.inside.size), np.float32)

    def weigh(rows: slice) -> None:
        at = flat[rows]
        places = None if atlas is None else place(model.components, atlas[:, rows])
        values = scan.values(at)
        joint = model.log_joint(values, places)
        top = joint.max(axis=1, keepdims=True)
        joint -= top
        if flair is not None:
            other = log_unexplained(
                values, log_mixing(model.weights, places), model.means, model.covariances,
                flair=flair, components=model.components,
            )  # fmt: skip
            evidence[-1, at] = np.maximum(other - top[:, 0], _NEVER)
        for group in range(n_groups):
            total = np.exp(joint[:, groups == group]).sum(axis=1) + 1e-30
            evidence[group, at] = np.log(total)
            joint[:, groups == group] -= np.log(total)[:, None]
        logs[rows] = joint

    _each(weigh, len(flat), threads)
    return evidence, logs


def _each(work: Callable[[slice], T], n: int, threads: int) -> list[T]:
    """Do `n` rows in chunks."""
    return each(work, parts(n, _CHUNK), threads)


def _lesions(
    scan: Scan,
    model: Model,
    zooms: tuple[float, float, float],
    strength: float,
    atlas: NDArray[np.float32] | None,
    flair: int,
    threads: int,
) -> NDArray[np.float32]:
    """Probability of a lesion in each voxel of the box, shape (box,)."""
    # Of CSF, grey and white, whatever the table: the cerebellum has lesions of white matter, too.
    evidence, _ = _evidence(scan, model, model.parents, atlas, threads, flair)
    posterior = mean_field(
        evidence.reshape(-1, *scan.inside.shape),
        scan.inside,
        zooms=zooms,
        strength=strength,
        threads=threads,
    )
    return in_white_matter(posterior[-1], posterior[:-1], zooms).ravel()


def _white_where(
    lesions: NDArray[np.float32], evidence: NDArray[np.float32], white: int
) -> NDArray[np.float32]:
    """Let the evidence say white matter as far as it says lesion."""
    at = np.flatnonzero(lesions)
    healthy = np.exp(evidence[:, at] - evidence[:, at].max(axis=0))
    healthy *= (1 - lesions[at]) / healthy.sum(axis=0)
    healthy[white] += lesions[at]
    out = evidence.copy()
    out[:, at] = np.log(np.maximum(healthy, np.exp(np.float32(_NEVER))))
    return out


def _white(model: Model) -> int:
    return [c.name for c in model.components].index("white")


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
