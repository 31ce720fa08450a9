import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg.core import masking

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6))


@given(masks, st.integers(1, 3))
def test_scatter_undoes_extract(mask: np.ndarray, channels: int) -> None:
    data = np.arange(mask.size * channels, dtype=np.float32).reshape(*mask.shape, channels)
    back = masking.scatter(masking.extract(data, mask), mask, fill=-1)
    assert np.array_equal(back[mask], data[mask])
    assert (back[~mask] == -1).all()


@given(masks.filter(np.any))
def test_bounding_box_is_the_smallest(mask: np.ndarray) -> None:
    box = masking.bounding_box(mask)
    assert mask[box].sum() == mask.sum()
    for axis in range(3):
        inner = np.moveaxis(mask[box], axis, 0)
        assert inner[0].any()
        assert inner[-1].any()


def test_bounding_box_margin_stays_inside_the_grid() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[0, 2, 4] = True
    assert masking.bounding_box(mask, margin=1) == (slice(0, 2), slice(1, 4), slice(3, 5))


def test_an_empty_mask_has_no_box() -> None:
    with pytest.raises(ValueError, match="empty"):
        masking.bounding_box(np.zeros((3, 3, 3), bool))


def test_a_ball_closes_what_it_bridges_and_nothing_else() -> None:
    mask = np.zeros((40, 20, 20), bool)
    mask[5:15, 5:15, 5:15] = mask[19:29, 5:15, 5:15] = True  # a gap of four voxels
    zooms = (1.0, 1.0, 1.0)
    shut, open_ = masking.closed(mask, 4.0, zooms), masking.closed(mask, 1.0, zooms)
    assert shut[17, 10, 10]
    assert (open_ == mask).all()
    assert shut[mask].all()
    # a closing adds nothing beyond the box of what it closes
    assert not shut[30:].any()
    assert not shut[:5].any()
    assert masking.near(mask, 2.0, zooms)[3, 10, 10]
    assert not masking.near(mask, 2.0, zooms)[2, 10, 10]
    assert not masking.closed(np.zeros_like(mask), 4.0, zooms).any()
