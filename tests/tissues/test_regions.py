"""Regions: place parts grey and white matter, and takes nothing from CSF."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainseg.atlas.head_atlas import BRAIN
from brainseg.tissues.regions import by_region

CSF, CORTEX, WHITE, DEEP, STEM, CEREBELLUM = range(6)


def certain(name: str, floor: float = 0.001) -> NDArray[np.float32]:
    """One voxel where the map is sure of a class."""
    prior = np.full((len(BRAIN), 1), floor, np.float32)
    prior[BRAIN.index(name)] = 1
    return prior / prior.sum()


def tissue(csf: float, grey: float, white: float) -> NDArray[np.float32]:
    return np.array([[csf, grey, white]], np.float32)


@given(st.integers(0, 2**32 - 1))
def test_csf_and_the_sum_of_grey_and_white_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tissues = rng.dirichlet([1, 1, 1], 50).astype(np.float32)
    prior = rng.dirichlet(np.full(len(BRAIN), 0.3), 50).T.astype(np.float32) + np.float32(1e-4)
    out = by_region(tissues, prior)
    assert (out >= 0).all()
    np.testing.assert_array_equal(out[:, CSF], tissues[:, 0])
    # float32 sums of six numbers up to 1
    np.testing.assert_allclose(out.sum(axis=1), tissues.sum(axis=1), atol=1e-5)


def test_where_the_map_is_sure_of_a_region_any_intensity_belongs_to_it() -> None:
    for name, region in {
        "deep_grey": DEEP,
        "brain_stem": STEM,
        "cerebellar_grey": CEREBELLUM,
        "cerebellar_white": CEREBELLUM,
    }.items():
        for tissues in (tissue(0, 1, 0), tissue(0, 0, 1), tissue(0.1, 0.5, 0.4)):
            assert by_region(tissues, certain(name)).argmax() == region


def test_in_the_cerebrum_intensity_decides() -> None:
    for name in ("cortical_grey", "white"):
        assert by_region(tissue(0, 1, 0), certain(name)).argmax() == CORTEX
        assert by_region(tissue(0, 0, 1), certain(name)).argmax() == WHITE


def test_csf_is_csf_in_every_region() -> None:
    for name in BRAIN:
        assert by_region(tissue(0.9, 0.1, 0), certain(name)).argmax() == CSF


def test_between_white_matter_and_thalamus_a_grey_voxel_is_thalamus() -> None:
    prior = np.full((len(BRAIN), 1), 1e-3, np.float32)
    prior[BRAIN.index("white")], prior[BRAIN.index("deep_grey")] = 0.5, 0.5
    assert by_region(tissue(0, 1, 0), prior).argmax() == DEEP
    assert by_region(tissue(0, 0, 1), prior).argmax() == WHITE
