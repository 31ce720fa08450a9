"""Brain extraction by the project's own small network, for any contrast.

Two looks: a coarse one at the whole field of view finds the brain, a finer one centred on it
draws it. The network saw nothing but synthetic heads of random contrast
(recipe: version 0.1.0); its card is ``data/brain_extraction.json``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special
from threadpoolctl import threadpool_limits

from brainseg.anatomy import convnet, views
from brainseg.anatomy.refine import draw, interpolate
from brainseg.anatomy.result import Extraction
from brainseg.anatomy.views import Grid
from brainseg.core import assets
from brainseg.core.masking import bounding_box, largest_part
from brainseg.core.volume import Array, Volume
from brainseg.errors import DataError

WEIGHTS = "brain_extraction.npz"
COARSE_SIDE, FINE_SIDE = 64, 80
"""Voxels along a side of the two looks' grids, as in training."""
COARSE, FINE = (3.4, 4.6), (2.1, 3.0)
"""Their voxel sizes in mm, as in training."""
ROOM = 20.0
"""mm of surroundings that the fine look adds to the extent of the brain."""

Float32 = NDArray[np.float32]


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
        Its confidence is the Dice that the network expects of the mask
        (`brainseg.anatomy.refine.draw`).

    Raises
    ------
    DataError
        When the network sees no brain anywhere.
    """
    mask, confidence = draw(probability(volume, threads=threads))
    return Extraction(mask, "network", confidence)


def probability(volume: Volume, *, threads: int = 1) -> Float32:
    """Return the probability of the brain, with the CSF around it, on the scan's grid.

    Returns
    -------
    ndarray of float32, shape (I, J, K)

    Raises
    ------
    DataError
        When the network sees no brain anywhere.
    """
    with threadpool_limits(limits=1):
        data = tame(volume.data)
        coarse = whole_view(volume)
        inside = _probabilities(data, volume.zooms, coarse, threads)[1] > 0.5
        fine = _view_of_brain(inside, coarse)
        p = _probabilities(data, volume.zooms, fine, threads, mirrored=True)
        return interpolate(volume, p[1], fine)


def tame(data: Array) -> Float32:
    """Clip what is far outside the usual values, so that one hot voxel cannot set the scale."""
    sample = data[::2, ::2, ::2] if data.size > 2_000_000 else data
    # float32 bounds: float64 ones would make a float64 copy of the whole scan.
    low, high = np.percentile(sample, (0.1, 99.9)).astype(np.float32)
    if not high > low:
        low, high = np.float32(data.min()), np.float32(data.max())
    if not high > low:
        raise DataError(f"all voxels have the value {low:g}: there is no brain to be found")
    tamed: Float32 = np.clip(data, low, low + np.float32(1.3) * (high - low), dtype=np.float32)
    return tamed


@lru_cache(maxsize=1)
def load_weights() -> convnet.Weights:
    """Read the weights that ship with brainseg."""
    with np.load(assets.path(WEIGHTS)) as kept:
        return {name: kept[name].astype(np.float32) for name in kept.files}


def whole_view(volume: Volume) -> Grid:
    """Return a coarse grid over all of the scan."""
    longest = max(n * z for n, z in zip(volume.shape, volume.zooms, strict=True))
    return grid_over(volume, float(np.clip(longest / COARSE_SIDE, *COARSE)), least=COARSE_SIDE)


def grid_over(volume: Volume, voxel: float, *, least: int = 0) -> Grid:
    """Return a grid over all of a scan that the network can look at.

    Parameters
    ----------
    volume : Volume
    voxel : float
        Its side in mm.
    least : int
        Voxels of each side of the grid at least.
    """
    x, y, z = ((n - 1) * side / 2 for n, side in zip(volume.shape, volume.zooms, strict=True))
    extent = [n * side for n, side in zip(volume.shape, volume.zooms, strict=True)]
    i, j, k = (max(least, round_up(e / voxel)) for e in extent)
    return Grid((x, y, z), voxel, (i, j, k))


def round_up(n: float) -> int:
    """Return the next number of voxels that the network's poolings divide."""
    return int(np.ceil(n / convnet.MULTIPLE)) * convnet.MULTIPLE


def _view_of_brain(inside: NDArray[np.bool_], coarse: Grid) -> Grid:
    """Return the fine grid around the largest thing that the coarse look found."""
    centre, extent = around(inside, coarse)
    voxel = float(np.clip((max(extent) + ROOM) / FINE_SIDE, *FINE))
    return Grid(centre, voxel, (FINE_SIDE, FINE_SIDE, FINE_SIDE))


def around(
    inside: NDArray[np.bool_], coarse: Grid
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the middle and the extent, in mm, of the largest thing that the coarse look found.

    Raises
    ------
    DataError
        When it found nothing.
    """
    if not inside.any():
        raise DataError("the network sees no brain in this scan")
    box = bounding_box(largest_part(inside)[0])
    centre = [
        coarse.start(a) + (box[a].start + box[a].stop - 1) / 2 * coarse.voxel for a in range(3)
    ]
    extent = [(s.stop - s.start) * coarse.voxel for s in box]
    return (centre[0], centre[1], centre[2]), (extent[0], extent[1], extent[2])


def _probabilities(
    data: Float32,
    zooms: tuple[float, float, float],
    view: Grid,
    threads: int,
    mirrored: bool = False,
) -> Float32:
    """Run the network on a view, and on its mirror image; shape (2, D, H, W)."""
    values, seen = views.sample(data, zooms, view)
    # The training normalises in the same way.
    low, high = np.percentile(values[seen], (1, 99))
    image = np.clip((values - low) / (float(high - low) or 1.0), -0.2, 1.5) * seen
    weights = load_weights()
    logits = convnet.forward(image, weights, threads=threads)
    if mirrored:
        turned = convnet.forward(np.ascontiguousarray(image[::-1]), weights, threads=threads)
        logits = (logits + turned[:, ::-1]) * np.float32(0.5)
    p: Float32 = special.expit(logits)
    return p
