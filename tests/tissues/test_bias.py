from __future__ import annotations

import numpy as np
from tissue_heads import small_brain

from brainseg.tissues.bias import LARGEST, LogField, n4_log_field


def lattice(shape: tuple[int, ...], step: int) -> tuple[np.ndarray, ...]:
    grid = np.meshgrid(*(np.arange(0, n, step) for n in shape), indexing="ij")
    return tuple(g.ravel() for g in grid)


def test_samples_and_grid_are_the_same_field() -> None:
    shape = (30, 40, 35)
    at = lattice(shape, 3)
    field = LogField(shape, (3.0, 3.0, 3.0), at)
    rng = np.random.default_rng(0)
    field.step(rng.normal(0, 1, len(at[0])), np.full(len(at[0]), 40.0))
    np.testing.assert_allclose(field.on_grid()[at], field.at_samples(), atol=1e-5)


def test_a_smooth_field_is_found_from_exact_residuals() -> None:
    shape = (60, 70, 60)
    at = lattice(shape, 3)
    x = np.cos(np.pi * (at[0] + 0.5) / shape[0]) * 0.15
    field = LogField(shape, (2.5, 2.5, 2.5), at)
    for _ in range(4):
        residual = x - field.at_samples()
        field.step(400 * residual, np.full(len(x), 400.0))
    # The lowest wave bends little: the penalty takes at most a tenth of it.
    assert np.abs(field.at_samples() - x).max() < 0.1 * 0.15


def test_a_flattened_field_stays_flat() -> None:
    shape = (30, 40, 35)
    at = lattice(shape, 3)
    field = LogField(shape, (3.0, 3.0, 3.0), at)
    force = np.cos(np.pi * (at[0] + 0.5) / shape[0])
    field.step(force, np.ones(len(force)))
    assert np.ptp(field.on_grid()) > 0
    field.flatten()
    field.step(force, np.ones(len(force)))
    assert not field.on_grid().any()


def test_the_field_has_no_constant_part() -> None:
    shape = (30, 30, 30)
    at = lattice(shape, 2)
    field = LogField(shape, (4.0, 4.0, 4.0), at)
    field.step(np.full(len(at[0]), 30.0), np.full(len(at[0]), 100.0))
    assert abs(field.on_grid().mean()) < 1e-3


def test_a_field_is_bounded_whatever_drives_it() -> None:
    """Found by the fuzzer: values around -1e7 drove a field beyond what exp can hold."""
    shape = (24, 24, 24)
    at = lattice(shape, 8)
    field = LogField(shape, (4.0, 4.0, 4.0), at)
    for sign in (1, -1, 1):
        field.step(sign * 1e15 * (at[0] - 11.5), np.full(len(at[0]), 1.0))
    assert np.abs(field.at_samples()).max() <= LARGEST
    assert np.abs(field.on_grid()).max() == LARGEST


def test_n4_flattens_a_gain_and_is_zero_on_average_inside() -> None:
    data, mask, truth = small_brain(bias=0.4, size=48)
    field = n4_log_field(np.maximum(data, 1), mask, (3.0, 3.0, 3.0))
    white = truth == 3
    before = data[white].std() / data[white].mean()
    corrected = data[white] / np.exp(field[white])
    assert corrected.std() / corrected.mean() < 0.75 * before
    assert abs(field[mask].mean()) < 1e-4
    assert field.dtype == np.float32
