"""Where each tissue is to be expected: the placed atlas and the head network, pooled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg.anatomy import map_checks
from brainseg.anatomy.head import HeadMap, regions
from brainseg.atlas.placing import place_atlas
from brainseg.core.volume import BoolArray, Volume

FAINT = 2e-3
"""Added to both maps before they are pooled: what one of them never saw is improbable, not
impossible."""
STAND_IN = "the head atlas could not be placed; the network's map of the head stands in for it"
UNCHECKED = "the place of the head atlas could not be checked by the network: {}"


def spatial_prior(
    volume: Volume,
    mask: BoolArray,
    seen: HeadMap | None,
    doubt: str = "",
    *,
    threads: int = 1,
) -> tuple[NDArray[np.float32] | None, str]:
    """Place the atlas, let the network look, and pool the two.

    A registration that went wrong looks like any other; the network, which knows nothing of it,
    then sees brain stem, cerebellum or deep grey matter elsewhere, and a note says so. The two err
    in different ways: pooled, both tissues and regions gain (`pipelines/evaluate_regions.py`).

    Parameters
    ----------
    volume : Volume
        Head or skull-stripped brain in closest-canonical axis order, finite.
    mask : ndarray of bool, shape (I, J, K)
    seen : HeadMap or None
        The network's map of the head; None where there is none that could be trusted.
    doubt : str
        Why there is none.
    threads : int
        Threads at most; the result does not depend on it.

    Returns
    -------
    prior : ndarray of float32, shape (7, n_mask), or None
        In the order of `brainseg.atlas.head_atlas.BRAIN`. The atlas alone where the network's map
        is none of a head; the map alone where the atlas does not meet the mask; None where both
        fail.
    note : str
        What a reader should know; empty where the two agree. A check that cannot be made is told.
    """
    atlas = place_atlas(volume, mask, threads=threads)
    if seen is None:
        return atlas, "" if atlas is None else UNCHECKED.format(doubt)
    ours = regions(seen, volume, mask)
    if atlas is None:
        return pooled(ours, ours), STAND_IN
    agreement = map_checks.agreement(ours, atlas)
    if agreement >= map_checks.LEAST_REGION_DICE:
        return pooled(atlas, ours), ""
    note = (
        "the head atlas may lie wrongly: the network sees brain stem, cerebellum or deep grey "
        f"matter elsewhere (Dice {agreement:.2f}); look at these regions"
    )
    return pooled(atlas, ours), note


def pooled(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logarithmic pool of two maps, shape (7, n).

    The geometric mean, scaled to sum to 1 in each voxel: what either holds to be impossible becomes
    improbable. To let the network count more gains nothing (at 0.6 of the whole, deep grey loses
    0.006 Dice). Genest & Zidek, Statistical Science 1 (1986) 114-135, doi:10.1214/ss/1177013825.

    Parameters
    ----------
    one, other : ndarray of float32, shape (7, n)
    """
    out: NDArray[np.float32] = np.sqrt((one + np.float32(FAINT)) * (other + np.float32(FAINT)))
    out /= out.sum(axis=0)
    return out
