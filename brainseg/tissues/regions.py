"""Six tissues that are anatomy: intensity tells CSF, grey and white, place tells the region."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg.atlas.head_atlas import BRAIN

BLUR = 0.3
"""Share of the map's white matter that counts as room for cortex, and the reverse, when regions are
weighed: where the folds of this cortex run, the intensities know better. 0.1 to 0.5 give the same
Dice within 0.01 (`pipelines/evaluate_regions.py`)."""


def by_region(tissues: NDArray[np.float32], prior: NDArray[np.float32]) -> NDArray[np.float32]:
    """Part the grey and white matter of each voxel among the regions of the brain.

    The model is that of the three tissues, times p(region | tissue, place). In deep grey matter,
    stem and cerebellum grey and white are taken to be equally likely: thalamus and pallidum are
    nearly as bright as white matter, and so is a cerebellar leaf of half a voxel. In the cerebrum
    the map says how likely each is. CSF is the same tissue everywhere, so CSF, grey and white
    matter have the volumes that they have without regions.

    Parameters
    ----------
    tissues : ndarray of float32, shape (n, 3)
        Responsibilities of CSF, grey and white matter.
    prior : ndarray of float32, shape (7, n)
        Probabilities of `brainseg.atlas.head_atlas.BRAIN`, all positive.

    Returns
    -------
    ndarray of float32, shape (n, 6)
        CSF, cortical grey, cerebral white, deep grey, brain stem, cerebellum; rows sum as before.
    """
    share = dict(zip(BRAIN, prior, strict=True))
    regions = (
        share["deep_grey"] / 2,
        share["brain_stem"] / 2,
        (share["cerebellar_grey"] + share["cerebellar_white"]) / 2,
    )
    elsewhere = regions[0] + regions[1] + regions[2]
    out = np.zeros((len(tissues), 6), np.float32)
    out[:, 0] = tissues[:, 0]
    for column, (here, there) in enumerate(
        (("cortical_grey", "white"), ("white", "cortical_grey"))
    ):
        cerebrum = share[here] + np.float32(BLUR) * share[there]
        mass = tissues[:, 1 + column] / (cerebrum + elsewhere)
        out[:, 1 + column] = mass * cerebrum
        for k, region in enumerate(regions):
            out[:, 3 + k] += mass * region
    return out
