"""The intensities of a brain as samples, for a look at mixtures without anatomy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainseg.alignment.contrasts import align_contrast
from brainseg.config import SegmentConfig
from brainseg.core.masking import extract
from brainseg.core.steps import Steps
from brainseg.errors import DataError
from brainseg.pipeline import find_brain
from brainseg.run import Job, read
from brainseg.tissues.bias import n4_of_scan


@dataclass(frozen=True, eq=False)
class Intensities:
    """Samples of a brain.

    Attributes
    ----------
    name : str
        The scan's file name, without folders.
    channels : tuple of str
        ``T1w`` and the other contrasts.
    X : ndarray of float32, shape (n, D)
        Voxels of the brain that every contrast shows.
    corrected : bool
        Whether N4 removed a bias field.
    warnings : tuple of str
        What a reader should know of scan and mask.
    """

    name: str
    channels: tuple[str, ...]
    X: NDArray[np.float32]
    corrected: bool
    warnings: tuple[str, ...]


def load_intensities(job: Job, config: SegmentConfig, *, steps: Steps | None = None) -> Intensities:
    """Read a scan, find its brain and return the intensities inside.

    Parameters
    ----------
    job : Job
        Its `target` and `seeds` play no part.
    config : SegmentConfig
        How the brain is found, and the bias field: ``n4`` or ``none``.
    steps : Steps, optional

    Raises
    ------
    BrainsegError
        NoInputError or DataError, as of `brainseg.run.run_scan`.
    """
    steps = steps or Steps()
    with steps.step("Load"):
        inputs = read(job)
    volume = inputs.scan.volume
    with threadpool_limits(limits=1):
        with steps.step("Brain mask"):
            brain = find_brain(volume, config, inputs.known.mask).within(inputs.scan.finite)
        images = {job.target.suffix: volume.data}
        for name, contrast in inputs.contrasts.items():
            with steps.step(f"Align {name}"):
                images[name] = align_contrast(contrast, volume, mask=brain.mask, name=name)
        # Outside its field of view a contrast that was moved is 0.
        mask = brain.mask.copy()
        for name in inputs.contrasts:
            mask &= images[name] != 0
        if not mask.any():
            raise DataError("the brain mask is empty; give one as `mask`")
        columns = []
        for name, data in images.items():
            values = extract(data, mask)
            if config.bias == "n4":
                with steps.step(f"Bias field {name}"):
                    values = values / np.exp(extract(n4_of_scan(data, mask, volume.zooms), mask))
            columns.append(np.asarray(values, dtype=np.float32))
    return Intensities(
        inputs.scan.path.name,
        tuple(images),
        np.stack(columns, axis=1),
        config.bias == "n4",
        (*inputs.scan.notes, *brain.warnings),
    )
