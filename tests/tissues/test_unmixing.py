"""The step from CSF to grey that a map of the head expects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg.atlas.head_atlas import BRAIN
from brainseg.tissues.unmixing import CSF_STEPS, Unmixing

N = 20_000


def soft_map(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a map of the cerebrum, and tissues that were drawn by its probabilities."""
    shares = rng.dirichlet((0.6, 0.6, 0.6), N)
    drawn = (rng.random((N, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    atlas = np.zeros((len(BRAIN), N), np.float32)
    for name, share in zip(("csf", "cortical_grey", "white"), shares.T, strict=True):
        atlas[BRAIN.index(name)] = share
    return atlas, drawn


@settings(max_examples=30, deadline=None)
@given(step=st.floats(*CSF_STEPS), white=st.floats(0.6, 0.9), seed=st.integers(0, 99))
def test_the_step_is_found_where_the_map_means_what_it_says(
    step: float, white: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    atlas, tissue = soft_map(rng)
    pure = np.array([white - 0.2 * (1 + step), white - 0.2, white])
    values = pure[tissue] + rng.normal(0, 0.04, N)
    unmixing = Unmixing.of(atlas)
    assert unmixing is not None
    # 20,000 voxels whose tissue is a matter of chance tell pure intensities to 0.002 of steps of
    # 0.2; Huber's weights pull a little where the map is of three minds.
    assert unmixing.csf_step(values) == pytest.approx(step, abs=0.12)


def test_accidents_hardly_move_it() -> None:
    rng = np.random.default_rng(0)
    atlas, tissue = soft_map(rng)
    values = np.array([0.3, 0.5, 0.7])[tissue] + rng.normal(0, 0.03, N)
    unmixing = Unmixing.of(atlas)
    assert unmixing is not None
    before = unmixing.csf_step(values)
    values[rng.random(N) < 0.02] = 3.0
    assert unmixing.csf_step(values) == pytest.approx(before, abs=0.1)


def test_a_map_that_is_off_is_believed_within_limits_only() -> None:
    atlas, _ = soft_map(np.random.default_rng(0))
    unmixing = Unmixing.of(atlas)
    assert unmixing is not None
    for values in (np.zeros(N), np.linspace(0, 1, N), np.random.default_rng(1).random(N)):
        assert CSF_STEPS[0] <= unmixing.csf_step(values) <= CSF_STEPS[1]


def test_too_little_cerebrum_tells_nothing() -> None:
    atlas = np.zeros((len(BRAIN), N), np.float32)
    atlas[BRAIN.index("cerebellar_grey")] = 1
    assert Unmixing.of(atlas) is None
