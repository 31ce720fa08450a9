"""Network and atlas together: a weighted mean of probabilities that err in different ways.

The atlas knows where heads end and lies too smoothly; the network follows the cortex and errs
where it saw too little. `pipelines/benchmark_extraction.py` measures all three.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from brainseg.anatomy import network
from brainseg.anatomy.refine import LEVEL, draw
from brainseg.anatomy.result import Extraction
from brainseg.atlas.carrying import carry_brain
from brainseg.atlas.head_atlas import load_atlas
from brainseg.atlas.registration import register_atlas
from brainseg.core.metrics import dice
from brainseg.core.volume import Volume

SHARE = np.float32(2 / 3)
"""Weight of the network. Of 1, 0.8, 2/3 and 0.5 it has the highest least Dice on scans with masks
of other origin, within 0.001 of the best median."""
LEAST_MASK_DICE = 0.85
"""Dice of the two below which a mean of them means nothing: one has failed."""


def extract(volume: Volume, *, threads: int = 1) -> Extraction:
    """Find the brain in a head of any contrast.

    Parameters
    ----------
    volume : Volume
    threads : int
        Threads at most; the result does not depend on it.

    Returns
    -------
    Extraction
        ``checks["agreement"]`` is the Dice of the two masks. Where they disagree, the network's
        mask is taken alone, its route is ``network``, and a warning says so: of the two it is
        the one that stands any rotation and field of view.

    Raises
    ------
    DataError
        When the network sees no brain.
    """
    atlas = load_atlas()
    # Side by side, as neither keeps two threads busy. One BLAS thread for both: its number is the
    # process', and decides how sums are split.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(min(threads, 2)) as pool:
        seen = pool.submit(network.probability, volume)
        placed = pool.submit(
            register_atlas, volume.data, atlas, zooms=volume.zooms, threads=threads
        )
        ours, found = seen.result(), placed.result()
    carried = carry_brain(found, atlas, shape=volume.shape, zooms=volume.zooms, threads=threads)
    agreement = dice(ours > LEVEL, carried > LEVEL)
    if agreement < LEAST_MASK_DICE:
        alone, confidence = draw(ours)
        note = (
            f"network and atlas disagree on the brain (Dice {agreement:.2f}); the network's is used"
        )
        return Extraction(alone, "network", confidence, (note,), {"agreement": agreement})
    mean = ours * SHARE + carried * (1 - SHARE)
    mask, confidence = draw(mean)
    return Extraction(mask, "fused", confidence, (), {"agreement": agreement})
