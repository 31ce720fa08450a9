"""Masks that are wrong in a known way are told from a right one, whatever the voxel size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from brainseg.anatomy import result_checks
from brainseg.anatomy.classes import CLASSES
from brainseg.anatomy.head import HeadMap
from brainseg.anatomy.views import Grid

SIDE, VOXEL = 96, 2.0
RADIUS = 70.0


def points(shape: tuple[int, ...], zoom: float) -> np.ndarray:
    """Millimetres from the middle of a grid that spans the same cube at every voxel size."""
    line = (np.arange(shape[0]) - (shape[0] - 1) / 2) * zoom
    return np.stack(np.meshgrid(line, line, line, indexing="ij"))


def brain(at: np.ndarray) -> np.ndarray:
    return (at**2).sum(axis=0) < RADIUS**2


def cerebellum(at: np.ndarray) -> np.ndarray:
    return brain(at) & (at[1] < -20) & (at[2] < -25)


@pytest.fixture(scope="module")
def found() -> HeadMap:
    """A ball of white matter under a rind of cortex, with cerebellum, eyes and bone around it."""
    at = points((SIDE,) * 3, VOXEL)
    radius = np.sqrt((at**2).sum(axis=0))
    p = np.zeros((len(CLASSES), SIDE, SIDE, SIDE), np.float32)
    best = np.where(radius < RADIUS - 12, CLASSES.index("white"), CLASSES.index("cortical_grey"))
    best[radius < 15] = CLASSES.index("deep_grey")
    best[cerebellum(at)] = CLASSES.index("cerebellar_grey")
    best[radius >= RADIUS] = CLASSES.index("bone")
    best[eyes(at)] = CLASSES.index("eyes")
    np.put_along_axis(p, best[None], 1.0, axis=0)
    middle = (SIDE - 1) / 2 * VOXEL
    return HeadMap(p, Grid((middle,) * 3, VOXEL, (SIDE,) * 3))


def eyes(at: np.ndarray) -> np.ndarray:
    out = np.zeros(at.shape[1:], bool)
    for x in (-30, 30):
        out |= ((at - np.array([x, 76.0, -30.0])[:, None, None, None]) ** 2).sum(axis=0) < 144
    return out & ~brain(at)


SPOILED = {
    "right": lambda at: brain(at),
    "eroded": lambda at: (at**2).sum(axis=0) < (RADIUS - 4) ** 2,
    "dilated": lambda at: (at**2).sum(axis=0) < (RADIUS + 4) ** 2,
    "shifted": lambda at: brain(at - np.array([0, 8.0, 0])[:, None, None, None]),
    "half": lambda at: brain(at) & (at[0] > 0),
    "no cerebellum": lambda at: brain(at) & ~cerebellum(at),
    "no vertex": lambda at: brain(at) & (at[2] < 45),
    "thin cap cut off": lambda at: brain(at) & (at[2] < RADIUS - 10),
    "with neck": lambda at: (
        brain(at) | ((np.abs(at[:2]) < 10).all(axis=0) & (at[2] < 0) & (at[2] > -RADIUS - 18))
    ),
    "no occipital pole": lambda at: brain(at) & (at[1] > -50),
    "with eyes": lambda at: brain(at) | eyes(at),
}


def numbers(found: HeadMap, name: str, zoom: float) -> result_checks.MapAgreement:
    n = round(SIDE * VOXEL / zoom)
    at = points((n,) * 3, zoom)
    # The scan's first voxel is the origin of the map's mm: both grids share their middle.
    shift = (n - 1) / 2 * zoom - found.view.centre[0]
    view = Grid(tuple(c + shift for c in found.view.centre), VOXEL, found.view.shape)
    return result_checks.compare_mask(
        HeadMap(found.probabilities, view), SPOILED[name](at), (zoom,) * 3
    )


@pytest.mark.parametrize("zoom", [1.5, 2.0, 3.0])
def test_distances_are_mm_at_every_voxel_size(found: HeadMap, zoom: float) -> None:
    # Borders lie on voxels: a quarter of the coarsest voxel is the most that rounding moves them.
    near = {"abs": 0.75}
    # Without sign their steps do not cancel: 3 mm voxels cut a slanted border by 1 mm on average.
    rough = {"abs": 1.2}
    right = numbers(found, "right", zoom).numbers
    assert right["map_inward_mm"] == pytest.approx(0.0, **near)
    assert right["map_distance_mm"] == pytest.approx(0.0, **rough)
    assert numbers(found, "eroded", zoom).numbers["map_inward_mm"] == pytest.approx(4.0, **near)
    assert numbers(found, "dilated", zoom).numbers["map_inward_mm"] == pytest.approx(-4.0, **near)
    shifted = numbers(found, "shifted", zoom).numbers
    assert shifted["map_inward_mm"] == pytest.approx(0.0, **near)
    # A shift moves the border of a ball by half of it on average.
    assert shifted["map_distance_mm"] == pytest.approx(4.0, **rough)


@pytest.mark.parametrize("zoom", [1.5, 2.0, 3.0])
def test_what_is_missing_is_found_and_named(found: HeadMap, zoom: float) -> None:
    assert numbers(found, "right", zoom).numbers["map_missing"] < 0.1
    for name, place in (
        ("no cerebellum", "cerebellum"),
        ("no vertex", "vertex"),
        ("no occipital pole", "occipital pole"),
    ):
        agreement = numbers(found, name, zoom)
        assert agreement.numbers["map_missing"] > 0.6, name
        assert agreement.missing_at.startswith(place)
    half = numbers(found, "half", zoom)
    assert half.numbers["map_missing"] > 0.9
    assert half.missing_at.endswith("left") or half.missing_at == "left side"
    assert half.numbers["map_missing_deep_grey"] == pytest.approx(0.5, abs=0.06)
    gone = numbers(found, "no cerebellum", zoom).numbers["map_missing_cerebellum"]
    assert gone == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("zoom", [1.5, 2.0, 3.0])
def test_a_cap_that_is_cut_off_is_told_by_its_depth(found: HeadMap, zoom: float) -> None:
    # Voxels of the scan cut the border by up to a voxel of the map.
    assert numbers(found, "right", zoom).numbers["map_missing_mm"] <= VOXEL
    cut = numbers(found, "thin cap cut off", zoom).numbers
    # The uppermost 1 mL of a ball of 70 mm is 2.1 mm high; a voxel of the map is 2 mm.
    assert cut["map_missing_mm"] == pytest.approx(10 - 2.1, abs=2)


@pytest.mark.parametrize("zoom", [1.5, 2.0, 3.0])
def test_a_neck_is_told_by_its_distance(found: HeadMap, zoom: float) -> None:
    assert numbers(found, "right", zoom).numbers["map_foreign_mm"] <= VOXEL
    leaking = numbers(found, "with neck", zoom).numbers
    # 1 mL of a column 20 mm wide is 2.5 mm high; rounding moves its end by a voxel or two.
    assert leaking["map_foreign_mm"] == pytest.approx(18 - 2.5, abs=3)


def test_a_mask_smaller_than_a_voxel_of_the_map_is_not_compared(found: HeadMap) -> None:
    share = np.zeros((SIDE,) * 3, np.float32)
    share[48, 48, 48] = 0.3
    told = result_checks.compare_share(found, share, 0.0)
    assert told.numbers == {}
    assert "smaller than a voxel" in told.unknown


@pytest.mark.parametrize("zoom", [1.5, 2.0, 3.0])
def test_what_is_no_brain_is_found_and_named(found: HeadMap, zoom: float) -> None:
    agreement = numbers(found, "with eyes", zoom)
    assert agreement.foreign_at == "eyes"
    at = points((SIDE,) * 3, VOXEL)
    assert agreement.numbers["map_eyes_ml"] == pytest.approx(
        np.count_nonzero(eyes(at)) * VOXEL**3 / 1000,
        rel=0.15,  # a ball of 12 mm in voxels of 3 mm
    )
    assert numbers(found, "right", zoom).numbers["map_foreign"] < agreement.numbers["map_foreign"]


def test_mask_beyond_the_map_counts_as_far_away(found: HeadMap) -> None:
    at = points((144,) * 3, VOXEL)
    shift = (144 - 1) / 2 * VOXEL - found.view.centre[0]
    view = Grid(tuple(c + shift for c in found.view.centre), VOXEL, found.view.shape)
    mask = brain(at)
    mask[:, :, :20] = True
    agreement = result_checks.compare_mask(HeadMap(found.probabilities, view), mask, (VOXEL,) * 3)
    assert agreement.numbers["map_distance_mm"] > 10


def test_nothing_to_compare_is_said(found: HeadMap) -> None:
    none = np.zeros((SIDE,) * 3, bool)
    assert result_checks.compare_mask(found, none, (VOXEL,) * 3).unknown == "the mask is empty"
    p = np.zeros_like(found.probabilities)
    p[CLASSES.index("nothing")] = 1.0
    nobody = HeadMap(p, found.view)
    agreement = result_checks.compare_mask(nobody, ~none, (VOXEL,) * 3)
    assert agreement.numbers == {}
    assert "no brain" in agreement.unknown


def test_swapped_tissues_go_against_the_map(found: HeadMap) -> None:
    at = points((SIDE,) * 3, VOXEL)
    mask = brain(at)
    white = found.of("white", "cerebellar_white", "deep_grey")[mask] > 0.5
    fractions = np.stack([np.zeros_like(white), ~white, white], axis=1).astype(np.float32)
    right = result_checks.compare_tissues(found, mask, fractions, (VOXEL,) * 3)
    assert right["map_gm"] > 0.95
    assert right["map_wm"] > 0.95
    assert "map_csf" not in right  # the map has none
    swapped = result_checks.compare_tissues(found, mask, fractions[:, [0, 2, 1]], (VOXEL,) * 3)
    assert swapped["map_gm"] < 0.05
    assert swapped["map_wm"] < 0.05


def test_area_of_a_ball_is_that_of_its_formula() -> None:
    at = points((SIDE,) * 3, VOXEL)
    ball = ndimage.binary_fill_holes(brain(at))
    # Steps of voxels cost a few per cent at 35 voxels of radius.
    assert result_checks._area_mm2(ball, VOXEL) == pytest.approx(4 * np.pi * RADIUS**2, rel=0.03)
