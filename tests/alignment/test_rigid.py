"""Logarithms of rigid motions, and the pose that many motions agree on."""

from __future__ import annotations

import numpy as np
import pytest
from motions import motion

from brainseg.alignment.rigid import Matrix, exponential, logarithm, middle_poses


def between(poses: list[Matrix]) -> list[list[Matrix]]:
    """What perfect registrations say of sessions with these poses."""
    return [
        [np.eye(4) if s is t else np.linalg.inv(t) @ s for s in poses]  # session s to session t
        for t in poses
    ]


def test_no_motion_stays_exactly_none() -> None:
    assert (logarithm(np.eye(4)) == 0).all()
    for pose in middle_poses([[np.eye(4)] * 3] * 3):
        assert (pose == np.eye(4)).all()


def test_two_sessions_meet_halfway() -> None:
    there = motion((9, -4, 12), (5, -8, 3))
    first, second = middle_poses([[np.eye(4), np.linalg.inv(there)], [there, np.eye(4)]])
    # the motion to the middle, made twice, is the whole of it (rounding of 4x4 products)
    assert np.abs(np.linalg.inv(second) @ first - there).max() < 1e-12
    assert np.abs(first @ first - there).max() < 1e-12


@pytest.mark.parametrize("n", [2, 3, 5])
def test_all_sessions_agree_on_one_space(n: int) -> None:
    rng = np.random.default_rng(n)
    poses = [motion(tuple(rng.uniform(-8, 8, 3)), tuple(rng.uniform(-9, 9, 3))) for _ in range(n)]
    found = middle_poses(between(poses))
    # what the pairs say is consistent, so every pair must be met (to the step that ends the search)
    for s in range(n):
        for t in range(n):
            said = np.linalg.inv(poses[t]) @ poses[s]
            assert np.abs(np.linalg.inv(found[t]) @ found[s] - said).max() < 1e-6


def test_the_space_favours_no_session() -> None:
    poses = [
        motion((6, 0, 0), (4, 0, 0)),
        motion((-2, 0, 0), (0, 2, 0)),
        motion((0, 5, 1), (0, 0, 0)),
    ]
    found = middle_poses(between(poses))
    turned = middle_poses(between([poses[2], poses[0], poses[1]]))
    # another order of the sessions: sums in another order, which is rounding alone
    for pose, other in zip(found, [turned[1], turned[2], turned[0]], strict=True):
        assert np.abs(pose - other).max() < 1e-9
    # and the sessions' motions to it cancel, to second order in angles of a tenth
    mean = np.mean([logarithm(pose) for pose in found], axis=0)
    assert np.abs(mean[:3, :3]).max() < 0.01


def test_contradicting_motions_are_shared_out() -> None:
    poses = [motion((3, 0, 0), (2, 0, 0)), motion((0, 4, 0), (0, -3, 0)), np.eye(4)]
    said = between(poses)
    wrong = motion((0, 0, 0), (0.3, 0, 0))
    said[1][0] = wrong @ said[1][0]
    said[0][1] = np.linalg.inv(said[1][0])
    found = middle_poses(said)
    off = np.linalg.inv(found[1]) @ found[0] @ np.linalg.inv(said[1][0])
    # of an error of 0.3 mm in one of three pairs, each pose takes a part: a third stays per pair
    assert 0.05 < np.abs(off[:3, 3]).max() < 0.25


def test_exponential_undoes_logarithm() -> None:
    there = motion((20, -30, 45), (30, -10, 5))
    assert np.abs(exponential(logarithm(there)) - there).max() < 1e-12
