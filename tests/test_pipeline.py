"""What the path refuses before it starts, and what of a result is derived from others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from brainseg.config import SegmentConfig
from brainseg.core.volume import Volume
from brainseg.errors import DataError
from brainseg.evaluation.phantom import Phantom, make_phantom
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


@pytest.fixture(scope="module")
def shaded() -> Phantom:
    head = make_phantom(zooms=(4.0, 4.0, 4.0), noise=2.0, bias=0.0, seed=5)
    gain = np.exp(np.linspace(-0.3, 0.3, head.volume.shape[1], dtype=np.float32))[:, None]
    return replace(head, volume=head.volume.with_data(head.volume.data * gain))


@pytest.mark.parametrize(("bias", "seeded"), [("em", False), ("n4", False), ("n4", True)])
@pytest.mark.parametrize("offset", [10_000.0, -500.0])
def test_an_offset_of_all_intensities_is_not_divided_by_the_bias_field(
    shaded: Phantom, bias: str, seeded: bool, offset: float
) -> None:
    """A coil multiplies what lies above the scanner's zero; an offset was added after it."""
    config = SegmentConfig(mask="file", bias=bias, prior="tied", tissues="three")
    options = {"mask": shaded.mask, "seeds": shaded.three.astype(int) if seeded else None}
    usual = segment_volume(shaded.volume, config, **options)
    moved = segment_volume(
        shaded.volume.with_data(shaded.volume.data + np.float32(offset)), config, **options
    )
    inside = shaded.mask
    assert usual.fit.bias is not None
    # There is something to divide by.
    assert np.ptp(usual.fit.bias[inside]) > 0.2
    assert (moved.labels == usual.labels)[inside].mean() > 0.999
    # White matter has 935; single precision holds 10,000 to a thousandth, and the field settles
    # within as much.
    np.testing.assert_allclose(
        moved.preproc.data[inside] - offset, usual.preproc.data[inside], atol=2.0
    )
    np.testing.assert_allclose(
        moved.fit.mixture.means_ - offset, usual.fit.mixture.means_, atol=2.0
    )


def test_a_stripped_scan_has_no_whole_head(shaded: Phantom) -> None:
    mask = np.where(shaded.mask, shaded.volume.data, 0)
    with pytest.raises(DataError, match="skull"):
        segment_volume(shaded.volume.with_data(mask), SegmentConfig(tissues="head"))
    given = SegmentConfig(tissues="head", mask="file")
    with pytest.raises(DataError, match="of bone"):
        segment_volume(shaded.volume.with_data(mask), given, mask=shaded.mask)


def test_the_brain_of_a_whole_head_is_that_of_the_three_tissues(shaded: Phantom) -> None:
    options = {"mask": shaded.mask}
    three = segment_volume(shaded.volume, SegmentConfig(mask="file", tissues="three"), **options)
    head = segment_volume(shaded.volume, SegmentConfig(mask="file", tissues="head"), **options)
    assert head.head is not None
    assert head.volumes_ml == three.volumes_ml
    inside = shaded.mask
    names = [t.abbreviation for t in head.asked.tissues]
    for tissue in ("GM", "WM"):
        k = names.index(tissue)
        np.testing.assert_array_equal(head.probability(k), three.fraction(head.asked.parents[k]))
    np.testing.assert_array_equal(head.labels[inside], three.three_labels[inside])
    total = sum(head.probability(k) for k in range(len(names)))
    np.testing.assert_allclose(total, 1, atol=1e-3)
    assert set(np.unique(head.labels)) == {1, 2, 3, 4, 5, 6}
