"""Lesions over the visits: what is new, grown, stable, shrunk or vanished."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from tissue_heads import small_brain

from brainseg.longitudinal.joint import JointFit, JointOptions, fit_sessions
from brainseg.longitudinal.lesions import Lesions, compare_lesions, in_common
from brainseg.tissues.tables import THREE

SHAPE = (40, 40, 40)
NOISE = 20.0


def ball(centre: tuple[int, int, int], radius: float) -> NDArray[np.bool_]:
    return ((np.indices(SHAPE).T - centre).T ** 2).sum(axis=0) <= radius**2


def visit(*balls: NDArray[np.bool_], seed: int = 0) -> tuple[NDArray[np.float32], ...]:
    """Map of lesions and FLAIR of white matter that has these."""
    inside = np.any(balls, axis=0) if balls else np.zeros(SHAPE, bool)
    noise = NOISE * np.random.default_rng(seed).standard_normal(SHAPE)
    return inside.astype(np.float32), (500 + 300 * inside + noise).astype(np.float32)


def compared(*visits: tuple[NDArray[np.float32], ...]) -> Lesions:
    maps = [v[0] for v in visits]
    return compare_lesions(maps, [v[1] for v in visits], np.max(maps, axis=0) == 0, np.eye(4))


SMALL, LARGE = ball((10, 10, 10), 2.0), ball((10, 10, 10), 4.0)
OTHER = ball((30, 30, 30), 3.0)


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        ((OTHER,), (OTHER,), "stable"),
        ((), (OTHER,), "new"),
        ((OTHER,), (), "vanished"),
        ((SMALL,), (LARGE,), "grown"),
        ((LARGE,), (SMALL,), "shrunk"),
    ],
)
def test_a_lesion_is_named_by_what_became_of_it(
    before: tuple[NDArray[np.bool_], ...], after: tuple[NDArray[np.bool_], ...], state: str
) -> None:
    found = compared(visit(*before, seed=1), visit(*after, seed=2))
    (lesion,) = found.found
    assert lesion.states[1] == state
    assert lesion.changed == (state != "stable")
    sizes = [np.any(b, axis=0).sum() / 1000 if b else 0 for b in (before, after)]
    assert lesion.volumes_ml == pytest.approx(sizes)
    # of the voxels that changed, 300 / 28 noise levels away, hardly one is missed
    assert lesion.changes_ml[1] == pytest.approx(sizes[1] - sizes[0], rel=0.02)


def test_the_largest_is_the_first_and_each_has_its_place() -> None:
    found = compared(visit(SMALL, OTHER), visit(SMALL, OTHER))
    assert [lesion.number for lesion in found.found] == [1, 2]
    assert found.found[0].centre == pytest.approx((30, 30, 30))
    assert (found.numbers[OTHER] == 1).all()


def test_a_probability_that_crosses_a_half_alone_is_no_change() -> None:
    one, other = visit(SMALL, seed=1), visit(SMALL, seed=2)
    sure, unsure = one[0] * np.float32(0.6), other[0] * np.float32(0.4)
    found = compared((sure, one[1]), (unsure, other[1]))
    assert found.found[0].states[1] == "stable"


def test_three_visits_are_compared_with_the_first() -> None:
    found = compared(visit(OTHER, seed=1), visit(OTHER, SMALL, seed=2), visit(OTHER, seed=3))
    small = found.found[1]
    assert small.states == ("absent", "new", "absent")
    assert (found.count(1, "new"), found.count(2, "new")) == (1, 0)


def test_no_lesion_is_no_table() -> None:
    assert compared(visit(), visit()).found == ()


def test_size_is_judged_over_all_visits_together() -> None:
    """A lesion of 3 mm that is half the size at one visit is not dropped there."""
    tissues = np.zeros((2, 4, *SHAPE), np.float32)
    for maps, radius in zip(tissues, (1.0, 3.0), strict=True):
        maps[3][ball((20, 20, 20), radius)] = 1
        maps[2] = 1 - maps[3]
    small, large = in_common(list(tissues), (1.0, 1.0, 1.0))
    assert small.sum() == ball((20, 20, 20), 1.0).sum()
    assert large.sum() == ball((20, 20, 20), 3.0).sum()


FLAIR = np.array([0.0, 60.0, 600.0, 470.0])


def channels(seed: int, ill: NDArray[np.bool_] | None = None) -> list[NDArray[np.float32]]:
    """T1w and FLAIR of the small brain, with a lesion or without."""
    data, _, truth = small_brain(noise=0.03, seed=seed)
    rng = np.random.default_rng(100 + seed)
    flair = FLAIR[truth]
    if ill is not None:
        data[ill] = 600 + 23 * rng.standard_normal(int(ill.sum()))
        flair[ill] = 850
    return [data, (flair + NOISE * rng.standard_normal(flair.shape)).astype(np.float32)]


def lesion_voxels(fit: JointFit) -> list[float]:
    return [float(v.lesions.sum()) for v in fit.voxels if v.lesions is not None]


def test_a_lesion_of_one_session_is_found_there_alone() -> None:
    _, mask, truth = small_brain()
    new = ball((20, 20, 31), 3.0) & (truth == 3)
    options = JointOptions(THREE, bias=False, others=("FLAIR",))
    sessions = [channels(1), channels(2, new)]
    before, after = lesion_voxels(fit_sessions(sessions, mask, (1.0,) * 3, None, options))
    assert before < 0.1 * new.sum()
    assert after == pytest.approx(new.sum(), rel=0.2)


def test_equal_sessions_with_flair_differ_in_no_bit() -> None:
    _, mask, truth = small_brain()
    ill = ndimage.binary_erosion(ball((20, 20, 31), 3.0) & (truth == 3))
    one = channels(1, ill)
    options = JointOptions(THREE, others=("FLAIR",))
    fit = fit_sessions([one, [c.copy() for c in one]], mask, (1.0,) * 3, None, options)
    first, second = fit.voxels
    assert (first.fractions == second.fractions).all()
    assert (first.lesions == second.lesions).all()
