"""What the path refuses before it starts, and what of a result is derived from others."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from scipy import ndimage

from brainseg import pipeline
from brainseg.config import SegmentConfig
from brainseg.core.known import Known
from brainseg.core.steps import Steps
from brainseg.core.volume import Volume
from brainseg.errors import DataError, UsageError
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
        segment_volume(volume, SegmentConfig(mask="file"), known=Known(mask))
    mask[30:] = False
    mask[:, 30:] = False
    with pytest.raises(DataError, match="300 x 300 x 400 mm"):
        segment_volume(volume, SegmentConfig(mask="file"), known=Known(mask))


def test_an_empty_mask_is_refused() -> None:
    volume = Volume(NOISE, np.diag([4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(DataError, match="empty"):
        segment_volume(volume, SegmentConfig(mask="file"), known=Known(np.zeros(NOISE.shape, bool)))


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
    known = Known(shaded.mask, shaded.three.astype(int) if seeded else None)
    usual = segment_volume(shaded.volume, config, known=known)
    moved = segment_volume(
        shaded.volume.with_data(shaded.volume.data + np.float32(offset)), config, known=known
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
        segment_volume(shaded.volume.with_data(mask), given, known=Known(shaded.mask))


def test_contrasts_beside_the_t1w_reach_the_whole_head(
    shaded: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Volume] = []
    monkeypatch.setattr(pipeline, "segment_head", lambda scans, *_, **__: given.extend(scans))
    fit = SimpleNamespace(three_labels=np.ones(np.count_nonzero(shaded.mask), np.uint8))
    t2w = shaded.volume.data[::-1]
    config = SegmentConfig(tissues="head")
    pipeline._around(shaded.volume, {"T2w": t2w}, shaded.mask, fit, config, Steps())
    assert [scan.data is data for scan, data in zip(given, (shaded.volume.data, t2w), strict=True)]


def test_the_brain_of_a_whole_head_is_that_of_the_three_tissues(shaded: Phantom) -> None:
    known = Known(shaded.mask)
    three = segment_volume(shaded.volume, SegmentConfig(mask="file", tissues="three"), known=known)
    head = segment_volume(shaded.volume, SegmentConfig(mask="file", tissues="head"), known=known)
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


@pytest.fixture(scope="module")
def sick(shaded: Phantom) -> tuple[Volume, np.ndarray]:
    """A scan with dark lesions of white matter, and their mask."""
    white = shaded.three == 2
    deep = ndimage.binary_erosion(white, iterations=2)
    lesions = ndimage.binary_dilation(
        deep & (np.random.default_rng(1).random(deep.shape) < 0.05), iterations=1
    )
    lesions &= white
    data = shaded.volume.data.copy()
    data[lesions] *= 0.6
    return shaded.volume.with_data(data), lesions


def test_known_lesions_are_white_matter_and_teach_nothing(
    shaded: Phantom, sick: tuple[Volume, np.ndarray]
) -> None:
    scan, lesions = sick
    config = SegmentConfig(mask="file", tissues="six")
    healthy = segment_volume(shaded.volume, config, known=Known(shaded.mask))
    without = segment_volume(scan, config, known=Known(shaded.mask))
    told = segment_volume(scan, config, known=Known(shaded.mask, lesions=lesions))
    # As dark as grey matter, and taken for it where nobody says what they are.
    assert without.fraction(1)[lesions].mean() > 0.3
    np.testing.assert_allclose(told.fraction(2)[lesions], 1, atol=1e-3)
    assert (told.three_labels[lesions] == 2).all()
    assert told.lesions_ml == pytest.approx(lesions.sum() * scan.voxel_volume)
    # The fit learns what it learns without the disease.
    for tissue, ml in healthy.volumes_ml.items():
        assert told.volumes_ml[tissue] == pytest.approx(ml, rel=0.02)


def test_lesions_go_before_seeds(shaded: Phantom, sick: tuple[Volume, np.ndarray]) -> None:
    scan, lesions = sick
    seeds = np.where(lesions, 1, shaded.three).astype(int)
    found = segment_volume(
        scan,
        SegmentConfig(mask="file", tissues="three"),
        known=Known(shaded.mask, seeds, lesions),
    )
    assert (found.three_labels[lesions] == 2).all()
    assert (found.labels[lesions] == 2).all()


def test_a_lesion_mask_that_is_none_is_refused(shaded: Phantom) -> None:
    config = SegmentConfig(mask="file", tissues="three")
    with pytest.raises(DataError, match="covers 100%"):
        segment_volume(shaded.volume, config, known=Known(shaded.mask, lesions=shaded.mask))
    with pytest.raises(DataError, match="outside the brain"):
        segment_volume(shaded.volume, config, known=Known(shaded.mask, lesions=~shaded.mask))
    classes = SegmentConfig(mask="file", tissues="4")
    few = np.zeros_like(shaded.mask)
    few[tuple(np.argwhere(shaded.mask)[0])] = True
    with pytest.raises(UsageError, match="classes without names"):
        segment_volume(shaded.volume, classes, known=Known(shaded.mask, lesions=few))


def test_no_lesions_change_nothing(shaded: Phantom) -> None:
    """A mask without a voxel says that there are none, and is no error."""
    config = SegmentConfig(mask="file", tissues="three")
    plain = segment_volume(shaded.volume, config, known=Known(shaded.mask))
    told = segment_volume(
        shaded.volume, config, known=Known(shaded.mask, lesions=np.zeros_like(shaded.mask))
    )
    np.testing.assert_array_equal(told.labels, plain.labels)
    assert told.lesions_ml == 0
