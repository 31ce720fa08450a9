"""Gains, differential bias fields and slice gains that are known are found."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from tissue_heads import small_brain

from brainseg.longitudinal.matching import (
    differential_fields,
    local_fields,
    matched_gains,
    mean_image,
    slice_axis,
    slice_gains,
    spread,
)

# 40 voxels of 3 mm are a head's size
ZOOMS = (3.0, 3.0, 3.0)
Volumes = list[NDArray[np.float32]]


def twins(noise: float = 0.03) -> tuple[Volumes, NDArray[np.bool_]]:
    """The same brain twice, with noise of its own each time."""
    one, mask, _ = small_brain(seed=1, noise=noise)
    other, _, _ = small_brain(seed=2, noise=noise)
    return [one, other], mask


def ramp(shape: tuple[int, ...], percent: float) -> NDArray[np.float32]:
    """A log field that runs along the second axis."""
    line = np.linspace(-1, 1, shape[1], dtype=np.float32) * np.float32(percent / 200)
    return np.broadcast_to(line[None, :, None], shape).astype(np.float32)


def test_gains_are_found_and_favour_no_session() -> None:
    (one, other), mask = twins()
    gains = matched_gains([one, np.float32(1.7) * other], mask)
    # medians of 30,000 voxels with 3 % of noise
    assert gains[1] / gains[0] == pytest.approx(1.7, rel=2e-3)
    assert gains[0] * gains[1] == pytest.approx(1.0)


def test_a_field_that_one_session_has_is_found() -> None:
    (one, other), mask = twins()
    true = ramp(one.shape, 20)
    first, second = differential_fields([one, other * np.exp(true)], mask, ZOOMS)
    off = (second - first - true)[mask]
    off -= off.mean()
    # a twentieth of the field's 20 % is left: the cosines' ends are flat, a ramp's are not
    assert off.std() < 0.05 * 0.2
    # what both have is not theirs to differ in
    assert np.abs((first + second)[mask]).max() < 1e-5


def test_atrophy_is_no_field() -> None:
    (one, other), mask = twins(noise=0.01)
    grid = (np.indices(one.shape) - 19.5) / 20
    grown = np.sqrt((grid**2).sum(axis=0)) < 0.30  # the ventricle's radius was 0.22
    other[grown & mask] = one[mask].min()
    first, second = differential_fields([one, other], mask, ZOOMS)
    # a ventricle that grew twofold leaves the intensities around it alone
    assert np.abs((second - first)[mask]).max() < 0.01


def test_equal_sessions_have_no_field_at_all() -> None:
    (one, _), mask = twins()
    for field in differential_fields([one, one.copy()], mask, ZOOMS):
        assert (field == 0).all()
    assert (mean_image([one, one, one]) == one).all()


def test_gains_of_slices_are_found() -> None:
    (one, model), mask = twins()
    true = np.ones(one.shape[2], np.float32)
    true[1::2] = 0.93
    found = slice_gains(one * true, np.where(mask, model, 0), mask, axis=2)
    assert found.shape == (1, 1, one.shape[2])
    # slices with brain enough: medians of 500 ratios with 4 % of noise, three deviations
    assert np.abs(found.ravel()[8:-8] - true[8:-8]).max() < 0.01


def test_cubes_are_not_measured_in_slices() -> None:
    assert slice_axis((1.0, 1.0, 1.4)) is None
    assert slice_axis((1.0, 3.0, 1.0)) == 1


def test_voxels_are_spread_over_odd_and_even_slices() -> None:
    mask = np.ones((30, 30, 30), bool)
    at = spread(mask, 27000 // 8)
    odd = [float((axis % 2).mean()) for axis in at]
    # a lattice of every second slice would have 0 or 1 here
    assert min(odd) > 0.4
    assert max(odd) < 0.6


def test_fine_shades_of_one_session_are_found() -> None:
    (one, other), mask = twins(noise=0.01)
    # half-waves of 30 mm, finer than the smooth field follows
    wave = 0.02 * np.cos(np.pi * np.arange(one.shape[0]) * ZOOMS[0] / 30)[:, None, None]
    true = np.broadcast_to(wave, one.shape).astype(np.float32)
    first, second = local_fields([one, other * np.exp(true)], mask, ZOOMS)
    deep = ndimage.binary_erosion(mask, iterations=4)
    left = (second - first - true)[deep]
    # A Gaussian of 6 mm leaves a fifth of such a wave, and twice a twentieth; noise and edges add
    # to it.
    assert left.std() < 0.2 * true[deep].std()


def test_atrophy_is_no_fine_shade() -> None:
    (one, other), mask = twins(noise=0.01)
    grid = (np.indices(one.shape) - 19.5) / 20
    grown = np.sqrt((grid**2).sum(axis=0)) < 0.30
    other[grown & mask] = one[mask].min()
    first, second = local_fields([one, other], mask, ZOOMS)
    assert np.abs((second - first)[mask]).max() < 0.015
