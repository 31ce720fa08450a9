"""The atlas route: register the head atlas and carry its brain over, blind to contrast.

It aims at the whole brain with the CSF inside the dura, down to the lower end of brain stem and
cerebellum, as the atlas' label maps have it.
"""

from __future__ import annotations

from brainseg.anatomy.refine import expected_dice, solid
from brainseg.anatomy.result import Extraction
from brainseg.atlas.carrying import carry_brain
from brainseg.atlas.head_atlas import load_atlas
from brainseg.atlas.registration import register_atlas
from brainseg.core.volume import Volume
from brainseg.errors import DataError


def extract(volume: Volume, *, threads: int = 1) -> Extraction:
    """Find the brain by the atlas; the result does not depend on the threads.

    Parameters
    ----------
    volume : Volume
        A head in closest-canonical axis order, finite.

    Returns
    -------
    Extraction
        The confidence is the Dice that the carried probabilities let expect, times the share of
        the scan that the atlas explains where that is below a half.

    Raises
    ------
    DataError
        When the atlas finds no brain in the field of view.
    """
    atlas = load_atlas()
    found = register_atlas(volume.data, atlas, zooms=volume.zooms, threads=threads)
    whole = carry_brain(found, atlas, shape=volume.shape, zooms=volume.zooms, threads=threads)
    if not (whole > 0.5).any():
        raise DataError("the atlas finds no brain in this scan")
    mask = solid(whole > 0.5)
    confidence = expected_dice(whole, mask) * min(1.0, 2 * found.explained)
    return Extraction(mask, "atlas", confidence)
