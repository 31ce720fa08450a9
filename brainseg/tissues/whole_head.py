"""The tissues around the brain: a Gaussian mixture that the network's map of the head leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.core.masking import bounding_box, scatter
from brainseg.core.parallel import each, parts
from brainseg.core.volume import Array, BoolArray
from brainseg.mixture import kmeans, log_gaussian, log_joint, maximise, responsibilities
from brainseg.tissues.bias import DARKEST, scanner_zero
from brainseg.tissues.model import Floats
from brainseg.tissues.neighbourhood import STRENGTH, mean_field
from brainseg.tissues.scan import scaled

Float32 = NDArray[np.float32]

GAUSSIANS = {"csf": 1, "bone": 3, "soft": 3, "eyes": 1, "sinuses": 1, "air": 2}
"""Gaussians of each tissue: of bone for its cortex, for marrow, and for voxels of both; of soft
tissue for muscle, fat, and what is darker (vessels, tendons, dura); of the air around the head for
noise and its ghosts. Air in sinuses is as dark as bone, and air around many a head was set to zero:
each has its own."""
LABELS = np.array([3, 4, 5, 5, 6, 6], np.uint8)
"""Index in `brainseg.tissues.tables.HEAD` of each."""
CSF, BONE, SOFT, AIR = (int(i) for i in np.unique(LABELS))
_OF_CSF = list(GAUSSIANS).index("csf")
"""Position of the one Gaussian of CSF, which comes first."""
SAMPLES = 60_000
STEPS = 30
FLOOR = 1e-3
"""Added to the map: what it never saw is improbable, not impossible."""
SURELY = 0.999
"""Probability of air above which a voxel is not weighed: the empty room around the head."""
MIN_VARIANCE = 1e-4
"""Least variance of a component, of intensities scaled to about 0..1. Air that a scanner or a
defacing tool set to zero has no variance, and the likelihood of its component would have no
bound."""
BRIGHTEST = 1.5
"""Intensity, in parts of the brain's brightest, beyond which all is alike: fat has up to 1.3."""
FEWEST = 1000
"""Voxels of CSF in the brain that its Gaussian is learnt from at least."""
_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Gaussians:
    """The mixture around the brain, in intensities scaled to about 0..1.

    Attributes
    ----------
    tissue : ndarray of int, shape (M,)
        For each component the position of its tissue in `GAUSSIANS`.
    shares : ndarray, shape (M,)
        Its share of that tissue.
    means, covariances : ndarray, shapes (M, D), (M, D, D)
    history : tuple of float
        Log-likelihood per voxel of the sample, by step.
    """

    tissue: NDArray[np.intp]
    shares: Floats
    means: Floats
    covariances: Floats
    history: tuple[float, ...] = ()

    def log_joint(self, values: Floats, prior: Floats) -> Floats:
        """Log joint density of values (n, D) and components (n, M); `prior` is (n, T)."""
        density = log_gaussian(values, self.means, self.covariances)
        return log_joint(density, np.log(prior[:, self.tissue] * self.shares))

    def evidence(self, values: Floats, prior: Floats) -> Float32:
        """Log joint density of values and tissues, shape (T, n), up to a constant per voxel."""
        joint = self.log_joint(values, prior)
        weight = np.exp(joint - joint.max(axis=1, keepdims=True))
        sums = weight @ np.eye(len(GAUSSIANS))[self.tissue]
        out: Float32 = np.log(np.maximum(sums, 1e-30)).T.astype(np.float32)
        return out


def fit_around(
    channels: Sequence[Array],
    brain: NDArray[np.uint8],
    zooms: tuple[float, float, float],
    prior: Float32,
    *,
    smooth: float | None = None,
    threads: int = 1,
) -> tuple[Float32, Gaussians]:
    """Fit what lies around the brain.

    Parameters
    ----------
    channels : sequence of ndarray, shape (I, J, K)
        T1w scan and further contrasts on its grid.
    brain : ndarray of uint8, shape (I, J, K)
        GM (1), WM (2) and CSF (3); 0 outside the mask. Of several channels the CSF in it tells the
        Gaussian of the CSF around it: left to itself that is as wide as bone and muscle together.
    zooms : tuple of float
        Voxel sizes in mm.
    prior : ndarray of float32, shape (6, I, J, K)
        Where the network expects each tissue of `GAUSSIANS`.
    smooth : float, optional
        Strength of the Markov prior.
    threads : int
        The result does not depend on it.

    Returns
    -------
    around : ndarray of float32, shape (4, I, J, K)
        Probability of CSF, bone, soft tissue and air; 0 inside the mask.
    gaussians : Gaussians
    """
    mask = brain > 0
    unsure = ~mask & (prior[-1] < SURELY)
    box = bounding_box(unsure, margin=1)
    inside = unsure[box]
    images = [_scaled(c, mask) for c in channels]
    values = np.stack([image[box][inside] for image in images], axis=1)
    csf = _csf_of(images, brain == CSF) if len(images) > 1 else None
    weights = (prior[(slice(None), *box)][:, inside] + np.float32(FLOOR)).T
    weights /= weights.sum(axis=1, keepdims=True)
    step = max(1, len(values) // SAMPLES)
    sample, expected = (x[::step].astype(np.float64) for x in (values, weights))
    gaussians = fit(sample, expected, csf=csf)

    def weigh(rows: slice) -> Float32:
        return gaussians.evidence(*(x[rows].astype(np.float64) for x in (values, weights)))

    found = np.concatenate(each(weigh, parts(len(values), _CHUNK), threads), axis=1)
    evidence = np.stack([scatter(row, inside) for row in found])
    strength = STRENGTH if smooth is None else smooth
    posterior = mean_field(evidence, inside, zooms=zooms, strength=strength, threads=threads)
    around = np.zeros((4, *mask.shape), np.float32)
    around[-1] = ~mask & ~unsure
    for label, p in zip(LABELS, posterior, strict=True):
        around[(label - CSF, *box)] += p
    return around, gaussians


def fit(
    values: Floats,
    prior: Floats,
    *,
    csf: tuple[Floats, Floats] | None = None,
    seed: int = 0,
) -> Gaussians:
    """Fit Gaussians by EM from a K-means start in each tissue, the map being the mixing weights.

    Parameters
    ----------
    values : ndarray, shape (n, D)
    prior : ndarray, shape (n, T)
        Probability of each tissue of `GAUSSIANS`; rows sum to 1.
    csf : tuple of ndarray, shapes (D,), (D, D), optional
        Mean and covariance of CSF where they are known; they stay.
    """
    tissue = np.repeat(np.arange(len(GAUSSIANS)), list(GAUSSIANS.values()))
    resp = np.zeros((len(values), len(tissue)))
    best = prior.argmax(axis=1)
    for t, count in enumerate(GAUSSIANS.values()):
        at = np.flatnonzero(best == t)
        if len(np.unique(values[at], axis=0)) <= count:
            # The map expects hardly any of this tissue (eyes may lie outside the picture): its
            # components start from the samples that are most probable for it.
            at = np.argsort(-prior[:, t], kind="stable")[: len(values) // 100]
        nearest = kmeans(values[at], count, random_state=seed).labels
        resp[at, np.flatnonzero(tissue == t)[nearest]] = 1
    history = []
    for _ in range(STEPS):
        size, means, covariances = maximise(values, resp, min_variance=MIN_VARIANCE)
        if csf is not None:
            means[_OF_CSF], covariances[_OF_CSF] = csf
        shares = (size + 1e-9) / (np.bincount(tissue, size) + 1e-9)[tissue]
        found = Gaussians(tissue, shares, means, covariances)
        resp, log_prob = responsibilities(found.log_joint(values, prior))
        history.append(float(log_prob.mean()))
    return Gaussians(tissue, shares, means, covariances, tuple(history))


def _csf_of(images: Sequence[Float32], fluid: BoolArray) -> tuple[Floats, Floats] | None:
    """Return mean (D,) and covariance (D, D) of CSF away from its borders; None for too little.

    Voxels that are twice as far from the median as a tenth of them (vessels, what is no CSF) are
    left out.
    """
    inner = ndimage.binary_erosion(fluid)
    if np.count_nonzero(inner) < FEWEST:
        return None
    values = np.stack([image[inner] for image in images], axis=1).astype(np.float64)
    low, middle, high = np.percentile(values, (10, 50, 90), axis=0)
    near = (values >= 3 * middle - 2 * high) & (values <= 3 * middle - 2 * low)
    some = values[near.all(axis=1)]
    _, means, covariances = maximise(some, np.ones((len(some), 1)), min_variance=MIN_VARIANCE)
    return means[0], covariances[0]


def _scaled(data: Array, mask: BoolArray) -> Float32:
    """Scale a channel so that the scanner's zero is 0 and all tissue lies below 1."""
    low, high = np.percentile(data[mask], (DARKEST, 99.9))
    zero = scanner_zero(data, float(low))
    return scaled(data, zero=zero, low=zero, high=zero + BRIGHTEST * (float(high) - zero))
