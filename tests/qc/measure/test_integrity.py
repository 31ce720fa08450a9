"""Spoiled scans stand out by numbers that neither scale nor offset changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from brainseg.atlas.head_atlas import BRAIN, load_atlas
from brainseg.core.volume import Array
from brainseg.qc.measure import integrity
from brainseg.qc.measure.integrity import TISSUES
from brainseg.qc.measure.quality import Quality
from brainseg.qc.measure.verdict import out_of_range

ZOOMS = (3.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def head() -> tuple[Array, Array, Array]:
    """Return the atlas as a scan of 3 mm with a little noise: intensities, mask, fractions."""
    factor = load_atlas().zoom / ZOOMS[0]
    maps = np.stack([ndimage.zoom(load_atlas().of(*names), factor, order=1) for names in TISSUES])
    mask = ndimage.zoom(load_atlas().of(*BRAIN), factor, order=1) > 0.5
    noise = np.random.default_rng(0).normal(0, 2, mask.shape)
    data = np.einsum("c...,c->...", maps, [30.0, 70.0, 100.0]) + noise
    fractions = (maps / np.maximum(maps.sum(axis=0), 1e-3))[:, mask].T
    return data, mask, fractions


def keys(**values: float | None) -> set[str]:
    """Return which of some numbers the verdict objects to."""
    return {k for k, v in values.items() if out_of_range(Quality({k: v}, {}))}


def test_a_whole_head_passes(head: tuple[Array, Array, Array]) -> None:
    data, mask, fractions = head
    assert not keys(
        **integrity.measure_planes(data, mask),
        head_turn=integrity.measure_turn(fractions, mask, ZOOMS),
        sides_gm_wm=integrity.measure_sides(fractions, mask),
        **integrity.measure_proportions(mask, ZOOMS),
        **integrity.measure_rim(fractions, mask, ZOOMS),
    )


@pytest.mark.parametrize(
    ("axis", "voxels", "key"),
    [
        (0, 4, "rim_white"),
        (0, -4, "rim_white"),
        (1, -4, "rim_white"),
        (1, 4, "rim_white_back"),
        (2, -4, "rim_white"),
    ],
)
def test_a_mask_beside_its_brain_cuts_into_white_matter(axis: int, voxels: int, key: str) -> None:
    """A scan that was stripped by such a mask has nothing outside it to compare with."""
    zooms = (2.0, 2.0, 2.0)
    grid = (np.indices((80, 96, 80)).T - [39.5, 47.5, 39.5]).T * 2.0
    # An ellipsoid of 130 x 170 x 120 mm: 2 mm of CSF and 4 mm of cortex around white matter.
    depth = (1 - np.sqrt(sum((g / r) ** 2 for g, r in zip(grid, (65, 85, 60), strict=True)))) * 65
    mask = depth > 0
    white = np.zeros((*mask.shape, 3), np.float32)
    white[depth > 6, 2] = 1
    assert not keys(**integrity.measure_rim(white[mask], mask, zooms))
    beside = np.roll(mask, voxels, axis=axis)
    assert keys(**integrity.measure_rim(white[beside], beside, zooms)) == {key}


def test_a_mask_of_one_voxel_has_no_sides() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[2, 2, 2] = True
    fractions = np.array([[0.0, 0.0, 1.0]], np.float32)
    measured = integrity.measure_rim(fractions, mask, ZOOMS)
    assert measured == {"rim_white": None, "rim_white_back": None}


def test_voxel_sizes_that_are_wrong_along_one_axis_are_told(
    head: tuple[Array, Array, Array],
) -> None:
    _, mask, _ = head
    i, j, k = ZOOMS
    assert keys(**integrity.measure_proportions(mask, (i, j, 0.7 * k))) == {"brain_height"}
    assert keys(**integrity.measure_proportions(mask, (0.7 * i, j, k))) >= {"brain_width"}
    assert keys(**integrity.measure_proportions(mask, (i, 0.7 * j, k))) >= {"brain_width"}
    nodding = ndimage.rotate(mask.astype(np.float32), 20, axes=(1, 2), order=1) > 0.5
    assert not keys(**integrity.measure_proportions(nodding, ZOOMS))


def test_a_step_beside_planes_of_one_value_is_a_number_that_can_be_read(
    head: tuple[Array, Array, Array],
) -> None:
    data, mask, _ = head
    flat = data.copy()
    middle = data.shape[2] // 2
    flat[:, :, middle - 8 : middle + 8] = 0
    flat[:, :, middle] = data[:, :, middle]
    assert 100 < integrity.measure_planes(flat, mask)["plane_jump"] <= integrity.MOST


def test_proportions_of_an_ellipsoid_are_those_of_its_axes() -> None:
    x, y, z = np.ogrid[-40:41, -40:41, -40:41]
    ball = (x / 30) ** 2 + (y / 40) ** 2 + (z / 24) ** 2 < 1
    found = integrity.measure_proportions(ball, (1.0, 1.0, 2.0))
    # Rounding to voxels moves a radius of 24 by less than a half.
    assert found["brain_width"] == pytest.approx(30 / 40, rel=0.02)
    assert found["brain_height"] == pytest.approx(48 / np.sqrt(30 * 40), rel=0.02)


def swapped(data: Array) -> Array:
    out = data.copy()
    middle = data.shape[2] // 2
    out[:, :, middle : middle + 4] = data[:, :, middle + 8 : middle + 12]
    out[:, :, middle + 8 : middle + 12] = data[:, :, middle : middle + 4]
    return out


def combed(data: Array) -> Array:
    out = data.copy()
    out[::2] = np.roll(out[::2], 2, axis=1)
    return out


def emptied(data: Array) -> Array:
    out = data.copy()
    out[:, :, ::8] = out.min()
    return out


@pytest.mark.parametrize(
    ("spoil", "key"),
    [(swapped, "plane_jump"), (combed, "plane_comb"), (emptied, "plane_constant")],
)
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (37.0, 10_000.0)])
def test_spoiled_planes_are_told(
    head: tuple[Array, Array, Array],
    spoil: Callable[[Array], Array],
    key: str,
    scale: float,
    offset: float,
) -> None:
    data, mask, _ = head
    assert key in keys(**integrity.measure_planes(spoil(data) * scale + offset, mask))


def test_a_cut_mask_ends_flat(head: tuple[Array, Array, Array]) -> None:
    data, mask, _ = head
    cut = mask.copy()
    top = np.flatnonzero(mask.any(axis=(0, 1)))[-1]
    cut[:, :, top - 8 :] = False
    assert "mask_flat" in keys(**integrity.measure_planes(data, cut))


@pytest.mark.parametrize("axes", ["ikj", "jik", "kji", "i-jk", "ij-k"])
def test_turned_and_mirrored_heads_are_told(head: tuple[Array, Array, Array], axes: str) -> None:
    _, mask, fractions = head
    whole = np.zeros((*mask.shape, 3), np.float32)
    whole[mask] = fractions
    names = axes.replace("-", "")
    order = ["ijk".index(name) for name in names]
    flips = tuple(n for n, name in enumerate(names) if f"-{name}" in axes)
    turned = np.flip(mask.transpose(order), flips)
    maps = np.flip(whole.transpose(*order, 3), flips)
    assert integrity.measure_turn(maps[turned], turned, ZOOMS) > 0.08


def test_a_head_mirrored_left_to_right_is_the_same(head: tuple[Array, Array, Array]) -> None:
    _, mask, fractions = head
    whole = np.zeros((*mask.shape, 3), np.float32)
    whole[mask] = fractions
    assert integrity.measure_turn(whole[::-1][mask[::-1]], mask[::-1], ZOOMS) < 0


def test_half_a_head_without_white_matter_is_told(head: tuple[Array, Array, Array]) -> None:
    _, mask, fractions = head
    spoiled = fractions.copy()
    left = np.nonzero(mask)[0] < mask.shape[0] // 2
    spoiled[left, 1] += 0.5 * spoiled[left, 2]
    spoiled[left, 2] *= 0.5
    assert keys(sides_gm_wm=integrity.measure_sides(spoiled, mask))
