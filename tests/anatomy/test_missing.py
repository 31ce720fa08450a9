"""Zeros that are islands in tissue are missing; dark tissue and the air around are not."""

from __future__ import annotations

import numpy as np

from brainseg.anatomy.missing import find_missing

SHAPE = (24, 26, 22)


def brain() -> tuple[np.ndarray, np.ndarray]:
    """Return a ball of tissue with a dark ventricle, zero in its middle, and its mask."""
    rng = np.random.default_rng(0)
    place = np.indices(SHAPE) - np.array(SHAPE)[:, None, None, None] / 2
    radius = np.sqrt((place**2).sum(axis=0))
    mask = radius < 9
    data = np.where(mask, 100.0, 0) + rng.normal(0, 3, SHAPE) * mask
    data[radius < 4] = 20
    data[radius < 2.5] = 0
    return data.astype(np.float32), mask


def test_scattered_zeros_are_found_whatever_the_offset() -> None:
    data, mask = brain()
    place = np.indices(SHAPE) - np.array(SHAPE)[:, None, None, None] / 2
    radius = np.sqrt((place**2).sum(axis=0))
    lost = (np.random.default_rng(1).random(SHAPE) < 0.1) & (radius > 5) & (radius < 8)
    spoiled = np.where(lost, 0, data)
    for offset in (0, 10_000):
        found = find_missing(spoiled + np.float32(offset), mask)
        assert found is not None
        assert np.array_equal(found, lost)


def test_planes_of_zeros_are_found() -> None:
    data, mask = brain()
    data[:, :, 8] = 0
    found = find_missing(data, mask)
    assert found is not None
    assert np.array_equal(found[:, :, 8], mask[:, :, 8])
    assert not found[:, :, 9:].any()


def test_a_whole_brain_with_dark_tissue_misses_nothing() -> None:
    data, mask = brain()
    assert (data[mask] == 0).mean() > 0.01
    assert find_missing(data, mask) is None


def test_what_was_cut_off_is_not_inside() -> None:
    data, mask = brain()
    data[:, :, 14:] = 0
    assert find_missing(data, mask) is None
