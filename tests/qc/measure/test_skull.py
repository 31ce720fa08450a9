"""A skull that is closed, one with a hole, and how thick both are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from brainseg.core.volume import Volume
from brainseg.qc.draw.skull import projections
from brainseg.qc.measure.skull import measure_skull, numbers
from brainseg.tissues.shells import TOUCHING
from brainseg.tissues.whole_head import BONE, SOFT

ZOOMS = (2.0, 2.0, 2.0)


def onion() -> NDArray[np.uint8]:
    """White, grey, CSF, 8 mm of bone, soft tissue, air, by the labels of the table."""
    axis = np.arange(72) - 35.5
    r = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return np.array([2, 1, 3, 4, 5, 6], np.uint8)[np.digitize(r, [12, 16, 20, 24, 30])]


def test_a_closed_skull_has_no_hole_and_its_thickness() -> None:
    found = measure_skull(onion(), ZOOMS)
    assert (found.holes, found.open_cm2) == (0, 0)
    assert found.median_mm == pytest.approx(8, abs=1)


def test_a_hole_at_the_vertex_is_found_with_its_area() -> None:
    head = onion()
    head[30:42, 30:42, 36:][head[30:42, 30:42, 36:] == BONE] = SOFT
    found = measure_skull(head, ZOOMS)
    assert found.holes == 1
    assert found.open_cm2 == pytest.approx(2.4**2, rel=0.5)


def test_a_hole_at_the_base_is_a_foramen() -> None:
    head = onion()
    head[30:42, 30:42, :36][head[30:42, 30:42, :36] == BONE] = SOFT
    assert measure_skull(head, ZOOMS).holes == 0


def test_marrow_that_is_called_soft_tissue_is_no_hole() -> None:
    head = onion()
    axis = np.arange(72) - 35.5
    r = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    head[(r > 21.5) & (r < 22.5)] = SOFT
    assert measure_skull(head, ZOOMS).holes == 0


def test_numbers_say_how_much_of_the_brain_touched_no_fluid() -> None:
    head = onion()
    told = {"moved_voxels": {TOUCHING: 0}, "total_intracranial_volume_ml": 1500.0}
    values = numbers(measure_skull(head, ZOOMS), head, told)
    assert values["brain_touching"] == 0
    assert values["total_intracranial_volume_ml"] == 1500


def test_the_picture_shows_three_sides_and_a_hole_in_black() -> None:
    head = onion()
    head[:20, 32:40, 32:40][head[:20, 32:40, 32:40] == BONE] = SOFT  # on the left
    found = measure_skull(head, ZOOMS)
    volume = Volume(np.zeros(head.shape, np.float32), np.diag([*ZOOMS, 1.0]))
    m, picture = projections(found.thickness, volume)
    assert picture.shape == (m.height, m.width, 3)
    third = m.width // 3
    middles = [picture[m.height // 2, third // 2 + k * third] for k in range(3)]
    assert [bool(c.any()) for c in middles] == [True, True, True]
