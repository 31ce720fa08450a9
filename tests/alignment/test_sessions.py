"""Sessions of one head, turned and shifted by a known motion, meet in the middle."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from motions import motion
from scipy import ndimage

from brainseg.alignment.likeness import likeness
from brainseg.alignment.midspace import mid_space
from brainseg.alignment.rigid import Matrix
from brainseg.alignment.sessions import Session, align_sessions, canonical_order
from brainseg.core.volume import Volume
from brainseg.evaluation.phantom import make_phantom


@functools.cache
def head() -> Session:
    """A synthetic head of 3 mm."""
    made = make_phantom(zooms=(3.0, 3.0, 3.0), noise=2, bias=10, seed=4)
    return Session(made.volume, made.mask)


def visit(there: Matrix, seed: int, gain: float = 1.0) -> Session:
    """The head moved by a motion of the world, on its own grid, with noise of its own."""
    still = head()
    index = np.linalg.inv(still.volume.affine) @ np.linalg.inv(there) @ still.volume.affine
    rng = np.random.default_rng(seed)

    def moved(data: np.ndarray, order: int) -> np.ndarray:
        return ndimage.affine_transform(
            data.astype(np.float32), index[:3, :3], index[:3, 3], order=order
        )

    noisy = gain * (moved(still.volume.data, 3) + 20 * rng.standard_normal(still.volume.shape))
    return Session(still.volume.with_data(noisy.astype(np.float32)), moved(still.mask, 1) > 0.5)


THERE = motion((7, -5, 6), (5, -4, 6))


def surface_error(found: Matrix, true: Matrix) -> float:
    """Mean distance (mm) between where two motions put the brain's voxels."""
    volume = head().volume
    points = volume.affine[:3, :3] @ np.argwhere(head().mask)[::50].T + volume.affine[:3, 3:]
    off = (found - true)[:3, :3] @ points + (found - true)[:3, 3:]
    return float(np.linalg.norm(off, axis=0).mean())


def test_a_known_motion_is_found() -> None:
    one, other = visit(np.eye(4), 1), visit(THERE, 2, gain=1.4)
    poses = align_sessions([one, other])
    # a twentieth of a voxel of 3 mm; real heads of 1 mm come to 0.02 mm
    assert surface_error(np.linalg.inv(poses[1]) @ poses[0], THERE) < 0.15


def test_the_same_scan_twice_is_not_moved() -> None:
    found = align_sessions([head(), head()])
    for pose in found:
        assert (pose == np.eye(4)).all()
    space = mid_space([head().volume] * 2, found)
    assert space.shape == head().volume.shape
    for session in range(2):
        assert (space.bring(session, head().volume) == head().volume.data).all()


def test_the_order_of_sessions_changes_no_bit() -> None:
    visits = [visit(np.eye(4), 1), visit(THERE, 2), visit(motion((0, 4, -3), (1, 1, -7)), 3)]
    found = align_sessions(visits)
    turned = align_sessions([visits[2], visits[0], visits[1]])
    np.testing.assert_array_equal(align_sessions(visits, threads=3), found)
    for pose, other in zip(found, [turned[1], turned[2], turned[0]], strict=True):
        assert (pose == other).all()


def test_the_canonical_order_depends_on_content_alone() -> None:
    visits = [visit(np.eye(4), seed) for seed in range(4)]
    order = canonical_order(visits)
    turned = [visits[i] for i in (3, 1, 0, 2)]
    again = canonical_order(turned)
    assert [visits[i] for i in order] == [turned[i] for i in again]


def likeness_of(one: Session, other: Session) -> float:
    """Likeness of two aligned sessions where both have brain."""
    both = [one, other]
    space = mid_space([s.volume for s in both], align_sessions(both))
    images = [space.bring(i, s.volume) for i, s in enumerate(both)]
    masks = [
        space.bring(i, s.volume.with_data(s.mask.astype(np.float32)), order=1) > 0.5
        for i, s in enumerate(both)
    ]
    return likeness(images, masks[0] & masks[1], space.zooms)


def test_another_person_is_less_alike() -> None:
    stranger = make_phantom(zooms=(3.0, 3.0, 3.0), noise=2, bias=10, seed=5)
    # the bounds lie as far from what real heads have: 0.85 and more, 0.46 and less
    assert likeness_of(visit(np.eye(4), 1), visit(THERE, 2)) > 0.8
    assert likeness_of(head(), Session(stranger.volume, stranger.mask)) < 0.5


def test_what_is_carried_there_comes_back() -> None:
    one, other = visit(np.eye(4), 1), visit(THERE, 2)
    poses = align_sessions([one, other])
    space = mid_space([one.volume, other.volume], poses)
    mask = space.bring(1, other.volume.with_data(other.mask.astype(np.float32)), order=1)
    (back,) = space.carry_back(1, other.volume, [mask])
    a, b = back > 0.5, other.mask
    # two linear interpolations blur the edge of a mask of 3 mm voxels by a part of a voxel
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.97


def test_a_field_of_view_is_known() -> None:
    whole = head()
    part = Session(
        Volume(whole.volume.data[:, :, 12:], whole.volume.affine @ _shifted(12)),
        whole.mask[:, :, 12:],
    )
    space = mid_space([whole.volume, part.volume], [np.eye(4), np.eye(4)])
    seen = space.seen(1, part.volume)
    assert seen.any()
    assert not seen.all()
    assert (space.bring(1, part.volume)[~seen] == 0).all()
    assert space.seen(0, whole.volume).sum() > seen.sum()


def _shifted(planes: int) -> Matrix:
    out = np.eye(4)
    out[2, 3] = planes
    return out


@pytest.mark.parametrize("zooms", [(2.0, 2.0, 4.0), (1.5, 3.0, 3.0)])
def test_the_grid_has_the_finest_voxels(zooms: tuple[float, float, float]) -> None:
    fine = Volume(np.zeros((20, 30, 25), np.float32), np.diag([*zooms, 1.0]))
    coarse = Volume(np.zeros((15, 15, 25), np.float32), np.diag([3.0, 4.0, 4.0, 1.0]))
    space = mid_space([fine, coarse], [np.eye(4), np.eye(4)])
    assert np.allclose(space.zooms, np.minimum(zooms, (3.0, 4.0, 4.0)))
