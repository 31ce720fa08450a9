"""One pass of the head network: the brain and its regions from the same map.

Two looks: a coarse one at the whole field of view finds the brain, a finer one around it tells the
classes of `brainseg.anatomy.classes` apart. The network saw nothing but synthetic heads of random
contrast (`pipelines/train_head_network.py`); its card is ``data/head_network.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special
from threadpoolctl import threadpool_limits

from brainseg.anatomy import convnet, views
from brainseg.anatomy.classes import AROUND, CLASSES, N_BRAIN, TISSUE
from brainseg.anatomy.network import around, grid_over, round_up, tame, whole_view
from brainseg.anatomy.views import Grid
from brainseg.core import assets
from brainseg.core.masking import bounding_box
from brainseg.core.volume import BoolArray, Volume

WEIGHTS = "head_network.npz"
VOXEL = 1.6
"""mm of the fine look; trained at 1.45 to 2.3."""
ROOM = 20.0
"""mm of surroundings that the fine look adds to the extent of the brain."""
MOST = 128
"""Voxels along a side of the fine look at most."""
WHOLE_VOXEL = 2.0
"""mm of the look at the whole head."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class HeadMap:
    """What the network sees around the brain.

    Attributes
    ----------
    probabilities : ndarray of float32, shape (13, D, H, W)
        In the order of `CLASSES`; they sum to 1 in every voxel.
    view : Grid
        Where they lie in the scan.
    """

    probabilities: Float32
    view: Grid

    def of(self, *names: str) -> Float32:
        """Return the summed probability of the classes that are named, shape (D, H, W)."""
        out: Float32 = self.probabilities[[CLASSES.index(n) for n in names]].sum(axis=0)
        return out

    @property
    def brain(self) -> Float32:
        """Probability of the brain, with the CSF around it, shape (D, H, W)."""
        out: Float32 = self.probabilities[:N_BRAIN].sum(axis=0)
        return out


def map_head(
    volume: Volume, *, threads: int = 1, voxel: float = VOXEL, mirrored: bool = True
) -> HeadMap:
    """Look at a head of any contrast, stripped or not.

    Parameters
    ----------
    volume : Volume
        In closest-canonical axis order; finite values.
    threads : int
        Threads at most; the result does not depend on it.
    voxel : float
        mm of the fine look.
    mirrored : bool
        Look at the mirror image, too, and take the mean.

    Raises
    ------
    DataError
        When the network sees no brain anywhere.
    """
    with threadpool_limits(limits=1):
        data = tame(volume.data)
        coarse = whole_view(volume)
        first = _probabilities(data, volume.zooms, coarse, threads)
        centre, extent = around(first[:N_BRAIN].sum(axis=0) > 0.5, coarse)
        voxel = max(voxel, (max(extent) + ROOM) / MOST)
        sides = [min(MOST, round_up((e + ROOM) / voxel)) for e in extent]
        fine = Grid(centre, voxel, (sides[0], sides[1], sides[2]))
        return HeadMap(_probabilities(data, volume.zooms, fine, threads, mirrored), fine)


def regions(found: HeadMap, volume: Volume, mask: BoolArray) -> Float32:
    """Return the probability of each tissue of the brain in every voxel of a mask.

    Parameters
    ----------
    found : HeadMap
    volume : Volume
        The scan that was looked at.
    mask : ndarray of bool, shape (I, J, K)
        Brain mask on the scan's grid, CSF included.

    Returns
    -------
    ndarray of float32, shape (7, n_mask)
        In the order of `TISSUE`; they sum to 1 in each voxel.
    """
    box = bounding_box(mask)
    operators = [views.interpolating(box[a], volume.zooms[a], found.view, a) for a in range(3)]
    triple = (operators[0], operators[1], operators[2])
    inside = mask[box]
    out = np.empty((len(TISSUE), int(inside.sum())), np.float32)
    for row, classes in zip(out, TISSUE.values(), strict=True):
        # Cubic interpolation overshoots; a little everywhere keeps the sum positive.
        row[:] = np.maximum(views.apply(triple, found.of(*classes))[inside], 1e-6)
    out /= out.sum(axis=0)
    return out


def map_around(volume: Volume, *, threads: int = 1) -> Float32:
    """Look at all of the scan at once, for the tissues around the brain.

    Parameters
    ----------
    volume : Volume
        In closest-canonical axis order; finite values.
    threads : int
        Threads at most; the result does not depend on it.

    Returns
    -------
    ndarray of float32, shape (6, I, J, K)
        Probability of each tissue of `AROUND` on the scan's grid; about 1 in sum.
    """
    longest = max(n * z for n, z in zip(volume.shape, volume.zooms, strict=True))
    view = grid_over(volume, max(WHOLE_VOXEL, longest / MOST))
    with threadpool_limits(limits=1):
        found = HeadMap(_probabilities(tame(volume.data), volume.zooms, view, threads), view)
    whole = (slice(0, n) for n in volume.shape)
    operators = [views.interpolating(s, volume.zooms[a], view, a) for a, s in enumerate(whole)]
    triple = (operators[0], operators[1], operators[2])
    out = np.stack([views.apply(triple, found.of(*classes)) for classes in AROUND.values()])
    # Cubic interpolation overshoots.
    return np.clip(out, 0, 1, out=out)


@lru_cache(maxsize=1)
def load_weights() -> convnet.Weights:
    """Read the weights that ship with brainseg."""
    with np.load(assets.path(WEIGHTS)) as kept:
        return {name: kept[name].astype(np.float32) for name in kept.files}


def _probabilities(
    data: Float32,
    zooms: tuple[float, float, float],
    view: Grid,
    threads: int,
    mirrored: bool = False,
) -> Float32:
    """Run the network on a view, and on its mirror image; shape (13, D, H, W)."""
    values, seen = views.sample(data, zooms, view)
    # The training normalises in the same way.
    low, high = np.percentile(values[seen], (1, 99))
    image = np.clip((values - low) / (float(high - low) or 1.0), -0.2, 1.5) * seen
    weights = load_weights()
    logits = convnet.forward(image, weights, threads=threads)
    if mirrored:
        turned = convnet.forward(np.ascontiguousarray(image[::-1]), weights, threads=threads)
        logits = (logits + turned[:, ::-1]) * np.float32(0.5)
    p: Float32 = special.softmax(logits, axis=0)
    return p
