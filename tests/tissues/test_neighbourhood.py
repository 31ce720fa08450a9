from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from brainseg.tissues.neighbourhood import mean_field


def random_evidence(seed: int, shape: tuple[int, int, int] = (5, 6, 4)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (3, *shape)).astype(np.float32)


@given(st.integers(0, 50), st.floats(0, 8))
@settings(max_examples=20, deadline=None)
def test_posteriors_sum_to_one_inside_and_are_zero_outside(seed: int, strength: float) -> None:
    evidence = random_evidence(seed)
    inside = np.random.default_rng(seed + 1).random(evidence.shape[1:]) < 0.7
    q = mean_field(evidence, inside, zooms=(1, 1, 1), strength=strength)
    np.testing.assert_allclose(q.sum(axis=0)[inside], 1, atol=1e-5)
    assert (q[:, ~inside] == 0).all()


def test_zero_strength_is_the_mixture_itself() -> None:
    evidence = random_evidence(3)
    inside = np.ones(evidence.shape[1:], bool)
    q = mean_field(evidence, inside, zooms=(1, 1, 1), strength=0)
    np.testing.assert_allclose(q, softmax(evidence.astype(float), axis=0), atol=1e-6)


def test_a_lonely_doubtful_voxel_follows_its_neighbours() -> None:
    evidence = np.zeros((2, 5, 5, 5), np.float32)
    evidence[0] = 3
    evidence[:, 2, 2, 2] = (0, 1)
    inside = np.ones((5, 5, 5), bool)
    alone = mean_field(evidence, inside, zooms=(1, 1, 1), strength=0)[:, 2, 2, 2]
    heard = mean_field(evidence, inside, zooms=(1, 1, 1), strength=3)[:, 2, 2, 2]
    assert alone.argmax() == 1
    assert heard.argmax() == 0


def test_one_sweep_is_the_formula_and_thick_slices_say_less() -> None:
    evidence = random_evidence(5)
    inside = np.ones(evidence.shape[1:], bool)
    zooms = (1.0, 2.0, 3.0)
    q = softmax(evidence.astype(float), axis=0)
    votes = np.zeros_like(q)
    for axis, zoom in enumerate(zooms, start=1):
        for step in (-1, 1):
            moved = np.roll(q, step, axis=axis)
            edge = [slice(None)] * 4
            edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
            moved[tuple(edge)] = 0
            votes += moved / (6 * zoom)
    expected = softmax(evidence + 2.5 * votes, axis=0)
    out = mean_field(evidence, inside, zooms=zooms, strength=2.5, sweeps=1)
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_mirrored_brain_gets_mirrored_posteriors(axis: int) -> None:
    evidence = random_evidence(7)
    inside = np.random.default_rng(8).random(evidence.shape[1:]) < 0.8
    plain = mean_field(evidence, inside, zooms=(1, 1, 2), strength=3)
    mirrored = mean_field(
        np.flip(evidence, axis).copy(), np.flip(inside, axis - 1), zooms=(1, 1, 2), strength=3
    )
    np.testing.assert_allclose(np.flip(mirrored, axis), plain, atol=1e-5)
