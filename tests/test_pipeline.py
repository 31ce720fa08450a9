"""What the path refuses before it starts."""

from __future__ import annotations

import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from brainseg.config import SegmentConfig
from brainseg.core.volume import Volume
from brainseg.errors import DataError
from brainseg.pipeline import segment_volume

NOISE = np.random.default_rng(0).normal(100, 20, (40, 40, 40)).astype(np.float32)


@pytest.mark.parametrize("zoom", [0.001, 0.3, 26.0, 1000.0])
def test_a_scan_that_no_head_fits_is_refused(zoom: float) -> None:
    volume = Volume(NOISE, np.diag([zoom, zoom, zoom, 1.0]))
    with pytest.raises(DataError, match="voxel sizes"):
        segment_volume(volume, SegmentConfig())


def test_a_mask_larger_than_any_head_is_refused() -> None:
    volume = Volume(NOISE, np.diag([10.0, 10.0, 10.0, 1.0]))
    mask = np.ones(NOISE.shape, bool)
    with pytest.raises(DataError, match="400 x 400 x 400 mm"):
        segment_volume(volume, SegmentConfig(mask="file"), mask=mask)
    mask[30:] = False
    mask[:, 30:] = False
    with pytest.raises(DataError, match="300 x 300 x 400 mm"):
        segment_volume(volume, SegmentConfig(mask="file"), mask=mask)


def test_an_empty_mask_is_refused() -> None:
    volume = Volume(NOISE, np.diag([4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(DataError, match="empty"):
        segment_volume(volume, SegmentConfig(mask="file"), mask=np.zeros(NOISE.shape, bool))


@pytest.mark.parametrize("codes", ["LPS", "PIR", "RAI", "ASL"])
def test_a_volume_in_another_order_is_refused(codes: str) -> None:
    affine = inv_ornt_aff(axcodes2ornt(codes), NOISE.shape) @ np.diag([4.0, 4.0, 4.0, 1.0])
    with pytest.raises(DataError, match=f"axes are {codes}"):
        segment_volume(Volume(NOISE, np.linalg.inv(affine)), SegmentConfig())
