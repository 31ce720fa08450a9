"""Lesion candidates: voxels bright on FLAIR, in white matter, that no healthy tissue explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from brainseg.core.volume import BoolArray
from brainseg.tissues.model import Component, Floats

RARE = 1e-3
"""Share of a healthy tissue that lies beyond the Mahalanobis distance at which a voxel is held
to be as likely unexplained as healthy."""

LEARNING_RARE = 0.02
"""The same while the tissues are learnt: what might be a lesion teaches nothing. With `RARE` there,
a load of 36 mL taught white matter to be as wide as its lesions, and they were found with Dice 0.04
and 0.01 (now 0.82 and 0.63; `pipelines/evaluate_lesions.py`)."""

SHELL_MM = 2.0
"""Thickness of the surroundings by which a candidate is judged to lie in white matter; at least
one voxel along the finest axis."""

LEAST_MM3 = 14.0
"""Volume of a sphere of 3 mm, the least diameter that counts as a lesion (Filippi et al., Brain
142 (2019) 1858-1875, doi:10.1093/brain/awz144)."""


@dataclass(frozen=True)
class LesionModel:
    """The class of what no healthy tissue explains on a FLAIR scan.

    Attributes
    ----------
    flair : int
        Channel of the FLAIR scan.
    components : tuple of Component
        The healthy tissues.
    """

    flair: int
    components: tuple[Component, ...]

    def log_joint(
        self, values: Floats, mixing: Floats, means: Floats, covs: Floats, *, rare: float = RARE
    ) -> Floats:
        """Log joint density of values and the class of what no healthy tissue explains.

        For each tissue the density at a Mahalanobis distance that `rare` of its voxels exceed, as
        if any intensity were as likely; so what lies nearer to a tissue belongs to the tissue. Van
        Leemput et al., IEEE Trans. Medical Imaging 20 (2001) 677-688, doi:10.1109/42.938237.

        Parameters
        ----------
        values : ndarray, shape (n, D)
        mixing : ndarray, shape (M,) or (n, M)
            Logarithms of the mixing weights.
        means, covs : ndarray, shapes (M, D), (M, D, D)
        rare : float

        Returns
        -------
        ndarray, shape (n,)
            -inf for voxels that are not brighter on FLAIR than pure grey and white matter.
        """
        d = values.shape[1]
        peaks = -0.5 * (d * np.log(2 * np.pi) + np.linalg.slogdet(covs)[1])
        level = special.logsumexp(mixing + peaks, axis=-1) - special.chdtri(d, rare) / 2
        brightest = means[[c.pure for c in self.components], self.flair].max()
        out: Floats = np.where(values[:, self.flair] > brightest, level, -np.inf)
        return out


def in_white_matter(
    lesion: NDArray[np.float32],
    tissues: NDArray[np.float32],
    zooms: tuple[float, float, float],
) -> NDArray[np.float32]:
    """Keep the candidates that are large enough and whose surroundings are white matter.

    There is to be more white than grey matter, or cortex that is bright on FLAIR would stay; and
    more white matter than CSF, or the choroid plexus and the septum would. A lesion at the wall
    of a ventricle has both around it.

    Parameters
    ----------
    lesion : ndarray of float32, shape (I, J, K)
        Probability of the unexplained.
    tissues : ndarray of float32, shape (3, I, J, K)
        Probabilities of CSF, grey and white matter.
    zooms : tuple of float
        Voxel sizes in mm.

    Returns
    -------
    ndarray of float32, shape (I, J, K)
        `lesion` within `SHELL_MM` of a candidate that is kept, 0 elsewhere.
    """
    numbers, count = ndimage.label(lesion > 0.5, np.ones((3, 3, 3)))
    if count == 0:
        return np.zeros_like(lesion)
    distance, nearest = ndimage.distance_transform_edt(
        numbers == 0, sampling=zooms, return_indices=True
    )
    near: BoolArray = distance <= max(SHELL_MM, min(zooms))
    owner = numbers[tuple(nearest[:, near])]
    around = distance[near] > 0

    def surroundings(tissue: NDArray[np.float32]) -> Floats:
        return np.asarray(np.bincount(owner, tissue[near] * around, count + 1), np.float64)

    size = np.bincount(numbers.ravel(), minlength=count + 1) * float(np.prod(zooms))
    csf, grey, white = (surroundings(tissue) for tissue in tissues)
    kept = white > np.maximum(csf, grey)
    kept &= size >= LEAST_MM3
    out = np.zeros_like(lesion)
    out[near] = lesion[near] * kept[owner]
    return out
