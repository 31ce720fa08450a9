"""Brain extraction by deepbet (Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845).

An optional extra, ``pip install brainseg-em[deepbet]``, which brings PyTorch. Its networks were
trained on T1w scans: other contrasts are not for it. None of its weights is part of brainseg.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from brainseg.anatomy.network import tame
from brainseg.anatomy.result import Extraction
from brainseg.core.volume import BoolArray, Volume
from brainseg.errors import DataError, UsageError


@lru_cache(maxsize=1)
def _load() -> Any:
    try:
        from deepbet.bet import BrainExtraction
    except ImportError as error:
        raise UsageError(
            f"`brain_extraction` deepbet: {error}; pip install 'brainseg-em[deepbet]'"
        ) from error
    return BrainExtraction(no_gpu=True)


def extract(volume: Volume, *, threads: int = 1) -> Extraction:
    """Find the brain in a T1w head.

    Parameters
    ----------
    volume : Volume
    threads : int
        Threads of PyTorch.

    Raises
    ------
    UsageError
        When deepbet is not installed.
    DataError
        When it finds no brain.
    """
    model = _load()
    import torch

    torch.set_num_threads(threads)
    try:
        found = model.postprocess(model.run_model(tame(volume.data)) > 0.5)
    except (AssertionError, ValueError) as error:  # its ways of saying that nothing is there
        raise DataError(f"deepbet sees no brain in this scan: {error}") from error
    mask: BoolArray = np.asarray(found, dtype=bool)
    return Extraction(mask, "deepbet")
