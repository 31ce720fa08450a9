"""Where each tissue is to be expected: the placed atlas, checked by the head network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg.anatomy import map_checks
from brainseg.anatomy.head import map_head, regions
from brainseg.atlas.placing import place_atlas
from brainseg.atlas.registration import Registration
from brainseg.core.volume import BoolArray, Volume
from brainseg.errors import DataError

VOXEL = 2.0
"""Voxel size in mm of the look that checks the atlas: its regions measure centimetres."""
UNCHECKED = "the place of the head atlas could not be checked by the network: {}"


def spatial_prior(
    volume: Volume, mask: BoolArray, *, start: Registration | None = None, threads: int = 1
) -> tuple[NDArray[np.float32] | None, str]:
    """Place the atlas and check it.

    A registration that went wrong looks like any other; the network, which knows nothing of it,
    then sees brain stem, cerebellum or deep grey matter elsewhere.

    Parameters
    ----------
    volume : Volume
        Head or skull-stripped brain in closest-canonical axis order, finite.
    mask : ndarray of bool, shape (I, J, K)
    start : Registration, optional
        Where brain extraction found the atlas in this head.
    threads : int
        Threads at most; the result does not depend on it.

    Returns
    -------
    prior : ndarray of float32, shape (7, n_mask), or None
        In the order of `brainseg.atlas.head_atlas.BRAIN`; None where the atlas does not meet the
        mask. It stays the atlas' where the two disagree: where the registration went wrong the
        network knows brain stem and cerebellum better, but deep grey and white matter worse.
    note : str
        What a reader should know; empty where the two agree. A check that cannot be made is told.
    """
    atlas = place_atlas(volume, mask, start=start, threads=threads)
    if atlas is None:
        return None, ""
    try:
        seen = map_head(volume, threads=threads, voxel=VOXEL, mirrored=False)
    except DataError as error:
        return atlas, UNCHECKED.format(error)
    doubts = map_checks.doubts(map_checks.measure(seen))
    if doubts:
        return atlas, UNCHECKED.format("; ".join(doubts))
    ours = regions(seen, volume, mask)
    agreement = map_checks.agreement(ours, atlas)
    if agreement >= map_checks.LEAST_AGREEMENT:
        return atlas, ""
    note = (
        "the head atlas may lie wrongly: the network sees brain stem, cerebellum or deep grey "
        f"matter elsewhere (Dice {agreement:.2f}); look at these regions"
    )
    return atlas, note
