"""Agreement of masks: known geometry, symmetry, and the conventions for empty masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainseg.core import metrics

masks = hnp.arrays(bool, (5, 6, 4))


def cube(start: int, size: int = 6, n: int = 20) -> np.ndarray:
    out = np.zeros((n, n, n), bool)
    out[start : start + size, 5:11, 5:11] = True
    return out


def test_half_overlapping_cubes_have_dice_one_half() -> None:
    assert metrics.dice(cube(2), cube(5)) == pytest.approx(0.5)


def test_shifted_cube_is_as_far_as_its_shift_in_mm() -> None:
    # half of the shifted cube's surface lies outside; its far face is 3 voxels of 2 mm away
    assert metrics.hausdorff95(cube(2), cube(5), zooms=(2.0, 1.0, 1.0)) == pytest.approx(6.0)


def test_one_stray_voxel_does_not_move_the_95th_percentile() -> None:
    stray = cube(2)
    stray[19, 19, 19] = True
    assert metrics.hausdorff95(stray, cube(2), zooms=(1, 1, 1)) == 0.0


def test_surface_stands_where_the_field_of_view_cuts_the_mask() -> None:
    full = np.ones((6, 6, 6), bool)
    part = full.copy()
    part[0] = False
    assert metrics.hausdorff95(full, part, zooms=(1, 1, 1)) == pytest.approx(1.0)


def test_empty_masks() -> None:
    empty = np.zeros((20, 20, 20), bool)
    assert metrics.dice(empty, empty) == 1.0
    assert metrics.dice(empty, cube(2)) == 0.0
    assert metrics.hausdorff95(empty, empty, zooms=(1, 1, 1)) == 0.0
    assert metrics.hausdorff95(empty, cube(2), zooms=(1, 1, 1)) == math.inf
    assert math.isnan(metrics.volume_difference(cube(2), empty, zooms=(1, 1, 1))[1])


def test_volume_difference_in_ml_and_percent() -> None:
    big, small = cube(2, size=9), cube(2, size=6)
    ml, percent = metrics.volume_difference(big, small, zooms=(2.0, 2.0, 2.5))
    assert ml == pytest.approx(3 * 36 * 10 / 1000)
    assert percent == pytest.approx(50)


def test_compare_merges_labels() -> None:
    truth = cube(2).astype(np.uint8) * 2
    segmentation = truth.copy()
    segmentation[2:5][truth[2:5] > 0] = 7
    (row,) = metrics.compare(segmentation, truth, {"grey": ((2, 7), (2,))}, zooms=(1.0, 1.0, 1.0))
    assert (row.dice, row.difference_ml, row.hausdorff95_mm) == (1.0, 0.0, 0.0)


def test_other_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="grids differ"):
        metrics.dice(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool))


@settings(max_examples=40, deadline=None)
@given(masks, masks, st.permutations([0, 1, 2]))
def test_measures_are_symmetric_and_blind_to_axis_order(
    a: np.ndarray, b: np.ndarray, order: list[int]
) -> None:
    zooms = (1.0, 2.0, 0.5)
    turned = tuple(zooms[i] for i in order)
    for f, g in ((a, b), (b, a)):
        assert metrics.dice(f, g) == metrics.dice(a, b)
        distance = metrics.hausdorff95(f.transpose(order), g.transpose(order), zooms=turned)
        assert distance == pytest.approx(metrics.hausdorff95(a, b, zooms=zooms))
    assert metrics.hausdorff95(a, a, zooms=zooms) == 0.0


def test_mean_surface_distance_of_two_plates_is_their_distance() -> None:
    a, b = np.zeros((12, 6, 6), bool), np.zeros((12, 6, 6), bool)
    a[2], b[5] = True, True
    zooms = (2.0, 1.0, 1.0)
    assert metrics.mean_surface_distance(a, b, zooms=zooms) == pytest.approx(6.0)
    assert metrics.surface_dice(a, b, zooms=zooms, tolerance_mm=5.9) == 0.0
    assert metrics.surface_dice(a, b, zooms=zooms, tolerance_mm=6.0) == 1.0


def test_surfaces_of_empty_masks_have_no_distance() -> None:
    empty = np.zeros((20, 20, 20), bool)
    assert metrics.surface_dice(empty, empty, zooms=(1, 1, 1)) == 1.0
    assert metrics.mean_surface_distance(empty, empty, zooms=(1, 1, 1)) == 0.0
    assert metrics.surface_dice(empty, cube(2), zooms=(1, 1, 1)) == 0.0
    assert metrics.mean_surface_distance(cube(2), empty, zooms=(1, 1, 1)) == math.inf
