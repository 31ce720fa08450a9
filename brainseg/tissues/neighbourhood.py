"""Neighbourhood: a Markov field that lets a voxel's neighbours speak about its tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg.core.parallel import each, parts
from brainseg.core.volume import BoolArray

_SLAB_VOXELS = 1 << 18

STRENGTH = 3.0
"""Strength of the neighbourhood at usual noise (nats for full agreement on a 1 mm grid)."""

USUAL_NOISE = 0.16
"""Standard deviation of white matter over its distance from grey in a good 1 mm scan at 1.5 T."""

SWEEPS = 5
"""Sweeps of mean-field updates; the fifth changes fewer than one label in a thousand."""


def usual_strength(noise: float | None) -> float:
    """Return the default strength: the noisier the scan, the more the neighbours count.

    By the square of the noise, as the evidence of a voxel falls with it; within a half and
    thrice the usual.

    Parameters
    ----------
    noise : float or None
        As `USUAL_NOISE`; None where it is not known.
    """
    if noise is None:
        return STRENGTH
    return STRENGTH * float(np.clip((noise / USUAL_NOISE) ** 2, 0.5, 3.0))


def mean_field(
    log_evidence: NDArray[np.float32],
    inside: BoolArray,
    *,
    zooms: tuple[float, float, float],
    strength: float,
    sweeps: int = SWEEPS,
    threads: int = 1,
) -> NDArray[np.float32]:
    """Posterior of tissues under a Potts prior, by mean-field sweeps.

    Each sweep replaces the posterior by ``softmax(log_evidence + strength * votes)``; the votes
    of a voxel for a tissue are the posteriors of its six neighbours inside the mask, each weighted
    by ``1 / (6 d)`` with d the distance in mm, so that one on the far side of a thick slice says
    less. All voxels are updated at once from the sweep before, which makes the result
    independent of any order. Zhang, Computer Vision, Graphics and Image Processing: the mean
    field theory in EM procedures for MRFs, IEEE Trans. Signal Processing 40 (1992) 2570-2583,
    doi:10.1109/78.157297.

    Parameters
    ----------
    log_evidence : ndarray of float32, shape (P, I, J, K)
        Log joint density of data and tissue, up to a constant per voxel; read only where `inside`.
    inside : ndarray of bool, shape (I, J, K)
    zooms : tuple of float
        Voxel sizes in mm.
    strength : float
        Nats for full agreement of all neighbours on a 1 mm grid; 0 is the plain softmax.
    sweeps : int
    threads : int
        The result does not depend on it.

    Returns
    -------
    ndarray of float32, shape (P, I, J, K)
        Posteriors; they sum to 1 inside and are 0 outside.
    """
    slabs = parts(inside.shape[0], max(1, _SLAB_VOXELS // max(inside[0].size, 1)))
    posterior = np.empty_like(log_evidence)

    def begin(slab: slice) -> None:
        posterior[:, slab] = _softmax(log_evidence[:, slab].copy(), inside[slab])

    each(begin, slabs, threads)
    if strength == 0:
        return posterior
    after = np.empty_like(log_evidence)

    def sweep(slab: slice) -> None:
        heard = log_evidence[:, slab].copy()
        for tissue, logs in zip(posterior, heard, strict=True):
            _gather(tissue, slab, logs, zooms, strength)
        after[:, slab] = _softmax(heard, inside[slab])

    for _ in range(sweeps):
        each(sweep, slabs, threads)
        posterior, after = after, posterior
    return posterior


def _gather(
    tissue: NDArray[np.float32],
    slab: slice,
    logs: NDArray[np.float32],
    zooms: tuple[float, float, float],
    strength: float,
) -> None:
    """Add the weighted sum of the six neighbours to a slab; nothing comes from beyond the grid."""
    x, y, z = (np.float32(strength / (6 * zoom)) for zoom in zooms)
    own = tissue[slab]
    below, above = max(slab.start - 1, 0), min(slab.stop + 1, len(tissue))
    logs[below + 1 - slab.start :] += x * tissue[below : slab.stop - 1]
    logs[: above - 1 - slab.start] += x * tissue[slab.start + 1 : above]
    weighted = y * own
    logs[:, :-1] += weighted[:, 1:]
    logs[:, 1:] += weighted[:, :-1]
    np.multiply(own, z, out=weighted)
    logs[..., :-1] += weighted[..., 1:]
    logs[..., 1:] += weighted[..., :-1]


def _softmax(logs: NDArray[np.float32], inside: BoolArray) -> NDArray[np.float32]:
    """Overwrite log-densities by probabilities along the first axis, 0 outside."""
    logs -= logs.max(axis=0)
    np.exp(logs, out=logs)
    logs *= inside / logs.sum(axis=0)
    return logs
