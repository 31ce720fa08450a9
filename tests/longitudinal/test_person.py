"""The path of one person on synthetic heads."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from motions import motion
from scipy import ndimage

from brainseg.config import SegmentConfig
from brainseg.core.volume import Volume
from brainseg.errors import DataError, UsageError
from brainseg.evaluation.phantom import make_phantom
from brainseg.longitudinal.person import Person, segment_person

CONFIG = SegmentConfig(tissues="three")
SIDE = 2.5


@functools.cache
def head(seed: int = 0) -> Volume:
    return make_phantom(zooms=(SIDE,) * 3, noise=3, bias=20, seed=seed).volume


@functools.cache
def again() -> Volume:
    """The same head a second time: turned by ten degrees, resampled, with other noise."""
    still = make_phantom(zooms=(SIDE,) * 3, noise=0, bias=20, seed=0).volume
    there = motion((10, 0, 0), (3, -4, 5))
    index = np.linalg.inv(still.affine) @ np.linalg.inv(there) @ still.affine
    moved = ndimage.affine_transform(still.data, index[:3, :3], index[:3, 3], order=3)
    noise = 30 * np.random.default_rng(7).standard_normal((2, *still.shape))
    return still.with_data(np.hypot(moved + noise[0], noise[1]).astype(np.float32))


@functools.cache
def both() -> Person:
    return segment_person([head(), again()], CONFIG)


def test_the_same_scan_twice_has_not_changed() -> None:
    person = segment_person([head(), head()], CONFIG)
    assert person.volumes_ml(0) == person.volumes_ml(1)
    first, second = person.fit.voxels
    assert (first.responsibilities == second.responsibilities).all()
    assert person.space.shape == head().shape


def test_a_turned_head_has_not_changed() -> None:
    one, other = both().volumes_ml(0), both().volumes_ml(1)
    # voxels of 2.5 mm are blurred by turning them; pipelines/evaluate_longitudinal.py has 1 mm
    assert other["brain"] / one["brain"] == pytest.approx(1, abs=0.01)


def test_the_order_of_sessions_and_threads_change_no_bit() -> None:
    turned = segment_person([again(), head()], SegmentConfig(tissues="three", threads=2))
    for session in range(2):
        assert both().volumes_ml(session) == turned.volumes_ml(1 - session)
        one, other = both().fit.voxels[session], turned.fit.voxels[1 - session]
        assert (one.responsibilities == other.responsibilities).all()
        assert (both().space.poses[session] == turned.space.poses[1 - session]).all()
    assert (both().mask == turned.mask).all()


def test_volumes_fill_the_mask() -> None:
    found = both().volumes_ml(0)
    assert found["CSF"] + found["brain"] == pytest.approx(both().intracranial_ml, rel=1e-6)


def test_different_people_are_refused() -> None:
    with pytest.raises(DataError, match="different people"):
        segment_person([head(), head(seed=3)], CONFIG)


@functools.cache
def three() -> Person:
    """Two visits of one person, and between them one of somebody else."""
    return segment_person([head(), head(seed=3), again()], CONFIG, labels=["a", "b", "c"])


def test_a_session_of_somebody_else_is_left_out_by_name() -> None:
    person = three()
    assert person.kept == (0, 2)
    assert set(person.left_out) == {1}
    assert any(w.startswith("ses-b: does not look like the other") for w in person.warnings)
    # and changes nothing of what the others are alone
    for session in range(2):
        assert person.volumes_ml(session) == both().volumes_ml(session)
        assert (person.space.poses[session] == both().space.poses[session]).all()


def test_a_session_without_a_brain_does_not_take_the_others_along() -> None:
    empty = head().with_data(np.full_like(head().data, 7))
    person = segment_person([empty, head(), again()], CONFIG)
    assert person.kept == (1, 2)
    assert person.volumes_ml(0) == both().volumes_ml(0)
    with pytest.raises(DataError, match="ses-1: "):
        segment_person([empty, head()], CONFIG)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (SegmentConfig(bias="n4"), "bias"),
        (SegmentConfig(prior="tied", tissues="three"), "prior"),
        (SegmentConfig(tissues="4"), "tissues"),
        (SegmentConfig(mask="file"), "mask"),
    ],
)
def test_options_of_single_scans_are_refused(config: SegmentConfig, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        segment_person([head(), again()], config)


def test_a_label_map_is_no_visit() -> None:
    labels = head().with_data(np.digitize(head().data, [50, 300, 600]).astype(np.float32))
    with pytest.raises(DataError, match="label map"):
        segment_person([head(), labels], SegmentConfig(mask="none", tissues="six"))


def test_one_session_is_no_comparison() -> None:
    with pytest.raises(UsageError, match="two or more"):
        segment_person([head()], CONFIG)


def test_two_scans_of_a_ball_are_no_person() -> None:
    x, y, z = np.indices((64, 64, 64)) - 32
    ball = np.where(x**2 + y**2 + z**2 < 22**2, 800, 0)
    scans = []
    for seed in range(2):
        noise = 20 * np.random.default_rng(seed).standard_normal((2, *ball.shape))
        data = np.hypot(ball + noise[0], noise[1]).astype(np.float32)
        scans.append(Volume(data, np.diag([3.5, 3.5, 3.5, 1.0])))
    with pytest.raises(DataError, match="no scan of a head"):
        segment_person(scans, CONFIG)
