"""Brain masks that are wrong in a known way, cut where the anatomy is.

The places of poles, vertex, cerebellum, eyes and neck come from the registered head atlas, which
knows nothing of the network that the checks ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainseg.atlas.carrying import carry
from brainseg.atlas.head_atlas import load_atlas
from brainseg.atlas.registration import register_atlas
from brainseg.core.masking import bounding_box
from brainseg.core.volume import BoolArray, FloatArray, Volume

# In voxels of the atlas, 2 mm, whose brain spans 12 to 80, 14 to 100 and 17 to 90.
MIDDLE = 45.5
VERTEX, VERTEX_15_MM = 75.4, 82.5  # a fifth of the brain's height, and 15 mm
OCCIPITAL, OCCIPITAL_12_MM = 24.0, 20.0  # 20 mm and 12 mm of the brain's length
TEMPORAL = (64.0, 46.0, 6.0)  # in front of, below, away from the middle
CEREBELLUM = (46.0, 40.0)  # behind, below; besides where the atlas has it
EYES = ((30.0, 95.5, 41.0), (61.0, 95.5, 41.0))
EYE_MM, NECK_MM, NECK_LENGTH_MM = 12.0, 20.0, 50.0
LEAST_ADDED_ML = 5.0
"""Eyes or neck that hold less lie outside the field of view, and the mask is not wrong."""
SHIFT_MM = 6.0


@dataclass(frozen=True, eq=False)
class Frame:
    """Where each voxel of a box of the scan lies in the atlas.

    Attributes
    ----------
    box : tuple of slice
    at : ndarray of float32, shape (3, i, j, k)
        In voxels of the atlas.
    cerebellum : ndarray of float32, shape (i, j, k)
        Its probability.
    """

    box: tuple[slice, slice, slice]
    at: FloatArray
    cerebellum: FloatArray


def find_frame(volume: Volume, mask: BoolArray) -> Frame:
    """Register the atlas with a brain that is known, and carry its coordinates over."""
    atlas = load_atlas()
    registration = register_atlas(volume.data, atlas, zooms=volume.zooms, brain=mask)
    rooms = [round(45 / z) for z in volume.zooms]  # mm around the brain: eyes and neck
    box = tuple(
        slice(max(0, s.start - r), min(n, s.stop + r))
        for s, r, n in zip(bounding_box(mask), rooms, volume.shape, strict=True)
    )
    inside = np.zeros(mask.shape, bool)
    inside[box] = True
    maps = np.concatenate(
        [
            np.indices(atlas.shape).astype(np.float32),
            atlas.of("cerebellar_grey", "cerebellar_white")[None],
        ]
    )
    read = carry(maps, registration, inside, zooms=volume.zooms)
    carried = read.reshape(4, *(s.stop - s.start for s in box))
    return Frame((box[0], box[1], box[2]), carried[:3], carried[3])


def spoil(
    mask: BoolArray, zooms: tuple[float, float, float], frame: Frame
) -> Iterator[tuple[str, BoolArray]]:
    """Yield kind and mask, each spoiled in another way.

    Parameters
    ----------
    mask : ndarray of bool, shape (I, J, K)
        A good mask.
    zooms : tuple of float
        In mm.
    frame : Frame
    """
    part = mask[frame.box]
    x, y, z = frame.at
    away = np.abs(x - MIDDLE)
    temporal = (y > TEMPORAL[0]) & (z < TEMPORAL[1]) & (away > TEMPORAL[2])
    cerebellum = (frame.cerebellum > 0.4) | ((y < CEREBELLUM[0]) & (z < CEREBELLUM[1]))
    kinds = dict(_resized(part, zooms)) | {
        "half a brain": part & (x > MIDDLE),
        "half a brain, the other": part & (x < MIDDLE),
        "without cerebellum": part & ~cerebellum,
        "without vertex (fifth)": part & (z < VERTEX),
        "without vertex (15 mm)": part & (z < VERTEX_15_MM),
        "without occipital poles (20 mm)": part & (y > OCCIPITAL),
        "without occipital poles (12 mm)": part & (y > OCCIPITAL_12_MM),
        "without temporal poles": part & ~temporal,
        "without one temporal pole": part & ~(temporal & (x < MIDDLE)),
    }
    for axis in range(3):
        for sign in (-1, 1):
            kinds[f"shifted 6 mm {'xyz'[axis]}{sign:+d}"] = np.roll(
                part, sign * round(SHIFT_MM / zooms[axis]), axis
            )
    rng = np.random.default_rng(1)
    near = ndimage.distance_transform_edt(~part, sampling=zooms) <= 20
    kinds["noise: every tenth voxel flipped"] = part ^ ((rng.random(part.shape) < 0.1) & near)
    kinds["noise: half of the voxels left"] = part & (rng.random(part.shape) < 0.5)
    voxel_ml = float(np.prod(zooms)) / 1000
    for kind, more in (("with eyes", _eyes(frame)), ("with neck", _neck(frame))):
        if np.count_nonzero(more & ~part) * voxel_ml > LEAST_ADDED_ML:
            kinds[kind] = part | more
    for kind, spoiled in kinds.items():
        whole = np.zeros_like(mask)
        whole[frame.box] = spoiled
        yield kind, whole


def _resized(part: BoolArray, zooms: tuple[float, float, float]) -> Iterator[tuple[str, BoolArray]]:
    depth = ndimage.distance_transform_edt(np.pad(part, 1), sampling=zooms)[1:-1, 1:-1, 1:-1]
    height = ndimage.distance_transform_edt(~part, sampling=zooms)
    for mm in (3, 5):
        yield f"eroded {mm} mm", depth > mm
        yield f"dilated {mm} mm", height <= mm


def _eyes(frame: Frame) -> BoolArray:
    out = np.zeros(frame.cerebellum.shape, bool)
    for eye in EYES:
        away = 2.0 * (frame.at - np.array(eye)[:, None, None, None])
        out |= (away**2).sum(axis=0) <= EYE_MM**2
    return out


def _neck(frame: Frame) -> BoolArray:
    """Return a column under the brain stem."""
    x, y, z = frame.at
    across = (2 * (x - MIDDLE)) ** 2 + (2 * (y - 50.0)) ** 2 <= NECK_MM**2
    column: BoolArray = across & (z < 24) & (z > 24 - NECK_LENGTH_MM / 2)
    return column


def other_persons(
    other: BoolArray, other_zooms: tuple[float, ...], mask: BoolArray, zooms: tuple[float, ...]
) -> BoolArray:
    """Lay another person's mask so that the middles of both boxes meet."""
    centres = [
        np.array(
            [(s.start + s.stop - 1) / 2 * z for s, z in zip(bounding_box(m), size, strict=True)]
        )
        for m, size in ((other, other_zooms), (mask, zooms))
    ]
    moved = ndimage.affine_transform(
        other.astype(np.float32),
        np.diag(np.array(zooms) / np.array(other_zooms)),
        (centres[0] - centres[1]) / np.array(other_zooms),
        mask.shape,
        order=1,
    )
    out: BoolArray = moved > 0.5
    return out
