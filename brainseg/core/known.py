"""What the user knows of a head before anything is estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg.core.volume import BoolArray


@dataclass(frozen=True, eq=False)
class Known:
    """Maps on the scan's grid, axes in canonical order; each None where nothing is known.

    Attributes
    ----------
    mask : ndarray of bool, shape (I, J, K), or None
        The brain.
    seeds : ndarray of int, shape (I, J, K), or None
        Voxels whose tissue is known (1..K), 0 elsewhere. They keep it, and the same model as
        without them is fitted around them.
    lesions : ndarray of bool, shape (I, J, K), or None
        Lesions of white matter. They count as white matter, are kept out of the fit, and no others
        are looked for.
    """

    mask: BoolArray | None = None
    seeds: NDArray[np.integer] | None = None
    lesions: BoolArray | None = None


NOTHING = Known()
