"""Network and atlas together: the mean of two probabilities that err in different ways.

The atlas knows where heads end and lies too smoothly; the network follows the cortex and errs
where it saw too little. `pipelines/benchmark_extraction.py` measures all three.
"""

from __future__ import annotations

import numpy as np

from brainseg.atlas import BRAIN, load_atlas
from brainseg.extraction import network
from brainseg.extraction.refine import draw
from brainseg.extraction.result import Extraction
from brainseg.metrics import dice
from brainseg.registration import carry, register_atlas
from brainseg.volume import Volume

LEAST_AGREEMENT = 0.85
"""Dice of the two below which a mean of them means nothing: one has failed."""


def extract(volume: Volume, *, threads: int = 1, seed: int = 0) -> Extraction:
    """Find the brain in a head of any contrast.

    Parameters
    ----------
    volume : Volume
    threads : int
        Threads at most; the result does not depend on it.
    seed : int
        Not used: nothing here is random.

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
    ours = network.probability(volume, threads=threads)
    alone, confidence = draw(ours)
    atlas = load_atlas()
    found = register_atlas(volume.data, atlas, zooms=volume.zooms, threads=threads)
    brain = atlas.of(*BRAIN)[None]
    carried = carry(brain, found, atlas, shape=volume.shape, zooms=volume.zooms)[0]
    agreement = dice(alone, carried > 0.5)
    if agreement < LEAST_AGREEMENT:
        note = (
            f"network and atlas disagree on the brain (Dice {agreement:.2f}); the network's is used"
        )
        return Extraction(alone, "network", confidence, (note,), {"agreement": agreement})
    mean = (ours + carried) * np.float32(0.5)
    mask, confidence = draw(mean)
    return Extraction(mask, "fused", confidence, (), {"agreement": agreement}, found)
