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
