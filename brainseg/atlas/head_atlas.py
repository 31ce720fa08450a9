"""The head atlas: where in a head each class of tissue is to be expected."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainseg.core import assets
from brainseg.core.volume import FloatArray

ASSET = "head_atlas.npz"

CLASSES = (
    "csf",
    "cortical_grey",
    "white",
    "deep_grey",
    "brain_stem",
    "cerebellar_grey",
    "cerebellar_white",
    "skull",
    "other",
    "air",
)
BRAIN = CLASSES[:7]
"""The classes inside the dura; their sum is the probability of the brain mask."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """Class probabilities and a T1-like template of an average head, left-right symmetric.

    Attributes
    ----------
    probabilities : ndarray of float32, shape (10, I, J, K)
        In the order of `CLASSES`, summing to 1 in every voxel.
    template : ndarray of float32, shape (I, J, K)
        T1-like intensities, white matter near 1.
    zoom : float
        Edge of the cubic voxels in mm.
    """

    probabilities: NDArray[np.float32]
    template: NDArray[np.float32]
    zoom: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis (RAS+)."""
        i, j, k = self.template.shape
        return i, j, k

    @property
    def centre(self) -> NDArray[np.float64]:
        """Voxel indices of the grid's centre, which lies in the brain."""
        return (np.array(self.shape, float) - 1) / 2

    def of(self, *names: str) -> FloatArray:
        """Probability of any of the named classes, shape (I, J, K)."""
        total: FloatArray = self.probabilities[[CLASSES.index(n) for n in names]].sum(axis=0)
        return total


@cache
def load_atlas() -> Atlas:
    """Read the atlas that ships with brainseg (made by ``pipelines/build_atlas.py``)."""
    return read_atlas(assets.path(ASSET))


def read_atlas(path: Path) -> Atlas:
    """Read an atlas file: 8-bit probabilities of all classes but air, 8-bit template, zoom."""
    with np.load(path) as stored:
        solid = stored["probabilities"].astype(np.float32) / 255
        template = stored["template"].astype(np.float32) / 200
        zoom = float(stored["zoom"])
    air = np.clip(1 - solid.sum(axis=0, keepdims=True), 0, 1)
    probabilities = np.concatenate([solid, air])
    probabilities /= probabilities.sum(axis=0, keepdims=True)
    for shared in (probabilities, template):
        shared.flags.writeable = False  # one copy serves every caller in the process
    return Atlas(probabilities, template, zoom)


def write_atlas(path: Path, probabilities: FloatArray, template: FloatArray, zoom: float) -> None:
    """Write an atlas file; `probabilities` in the order of `CLASSES`."""
    with path.open("wb") as stream:  # given a name, NumPy would add an ending of its own
        np.savez_compressed(
            stream,
            probabilities=np.round(probabilities[:-1] * 255).astype(np.uint8),
            template=np.round(np.clip(template * 200, 0, 255)).astype(np.uint8),
            zoom=np.float64(zoom),
        )
