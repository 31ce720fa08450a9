"""What happens around the routes: choice, doubt, fallback, stripped scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from brainseg.anatomy import brain, plausibility
from brainseg.anatomy.brain import Extraction, extract_brain, stripped_mask
from brainseg.anatomy.stripped import find_body
from brainseg.core.volume import BoolArray, Volume
from brainseg.errors import DataError, UsageError

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def ball(radius: float, centre: tuple[float, float, float] = (90, 90, 90)) -> BoolArray:
    """A ball on a grid of 60^3 voxels of 3 mm; radius and centre in mm."""
    place = np.stack(np.meshgrid(*[np.arange(60) * 3.0] * 3, indexing="ij"), -1)
    inside: BoolArray = np.linalg.norm(place - centre, axis=-1) < radius
    return inside


BRAIN = ball(68)  # 1317 mL


def noisy_head() -> Volume:
    rng = np.random.default_rng(0)
    data = 100.0 * ball(85) + 100 * BRAIN + rng.random((60, 60, 60))
    return Volume(data.astype("f4"), AFFINE)


def answers(monkeypatch: pytest.MonkeyPatch, **routes: Any) -> list[str]:
    """Let the routes answer with these masks, or fail with this error; records who was asked."""
    asked: list[str] = []

    def answer(route: str) -> Callable[..., Extraction]:
        def extract(volume: Volume, *, threads: int) -> Extraction:
            asked.append(route)
            if isinstance(routes[route], Exception):
                raise routes[route]
            return Extraction(routes[route], route, 0.95)

        return extract

    for route in routes:
        monkeypatch.setitem(brain._EXTRACTORS, route, answer(route))
    return asked


def test_a_plausible_mask_is_taken_and_nobody_else_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answers(monkeypatch, fused=BRAIN, atlas=BRAIN)
    found = extract_brain(noisy_head())
    assert (found.route, found.warnings, asked) == ("fused", (), ["fused"])
    assert found.checks["volume_ml"] == pytest.approx(BRAIN.sum() * 0.027)


@pytest.mark.parametrize("poor", [ball(30), ball(88), DataError("sees no brain")])
def test_an_implausible_mask_falls_back_and_says_so(
    monkeypatch: pytest.MonkeyPatch, poor: Any
) -> None:
    answers(monkeypatch, fused=poor, atlas=BRAIN)
    found = extract_brain(noisy_head())
    assert found.route == "atlas"
    assert any("implausible" in w and "atlas" in w for w in found.warnings)


def test_nothing_plausible_is_an_error_with_code_65(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, fused=ball(15), atlas=DataError("no head"))
    with pytest.raises(DataError, match="no brain was found") as caught:
        extract_brain(noisy_head())
    assert caught.value.exit_code == 65


def test_an_odd_mask_on_which_both_routes_agree_is_kept_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = ball(45)  # 382 mL: too small for the limits, but found twice
    answers(monkeypatch, fused=small, atlas=small)
    found = extract_brain(noisy_head())
    assert found.checks["agreement"] == 1
    assert any("unusual" in w for w in found.warnings)


def test_an_unknown_route_is_a_users_mistake() -> None:
    with pytest.raises(UsageError, match="magic"):
        extract_brain(noisy_head(), route="magic")


def test_a_stripped_scan_keeps_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    data = (BRAIN * rng.uniform(50, 150, BRAIN.shape)).astype("f4")
    data[30, 30, 30] = 0  # a dark voxel inside belongs to the brain
    asked = answers(monkeypatch, network=ball(66))
    found = extract_brain(Volume(data, AFFINE))
    assert found.route == "stripped"
    # The registration of the other routes takes seconds and would be in vain.
    assert asked == ["network"]
    assert np.array_equal(found.mask, BRAIN)


def test_a_small_head_on_a_constant_background_is_not_taken_for_a_stripped_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its body is as small as a large brain, but the network sees a brain in part of it."""
    head, brain = ball(78), ball(58)
    answers(monkeypatch, network=brain, fused=brain)
    volume = Volume((100.0 * head + 50 * brain).astype("f4"), AFFINE)
    assert find_body(volume) is not None
    assert extract_brain(volume).route == "fused"


def test_noise_in_the_air_means_not_stripped() -> None:
    assert find_body(noisy_head()) is None


def test_the_users_word_that_a_scan_is_stripped_is_taken() -> None:
    data = (BRAIN * 7.0).astype("f4")
    assert np.array_equal(stripped_mask(Volume(data, AFFINE)).mask, BRAIN)


def test_the_numbers_behind_the_check() -> None:
    volume = noisy_head()
    round_one = plausibility.measure(volume, BRAIN)
    assert round_one["compactness"] == pytest.approx(1, abs=0.02)
    assert round_one["main_part"] == 1
    assert round_one["cut"] == 0
    two = ball(40, (45, 90, 90)) | ball(40, (135, 90, 90))
    apart = plausibility.measure(volume, two)
    assert apart["main_part"] == pytest.approx(0.5)
    assert apart["compactness"] < 0.8
    assert plausibility.measure(volume, np.zeros_like(BRAIN))["volume_ml"] == 0


def test_a_brain_that_the_field_of_view_cuts_may_be_small() -> None:
    volume = noisy_head()
    half = Volume(volume.data[:, :, :26], AFFINE)
    mask = ball(55)[:, :, :26]
    assert plausibility.measure(half, mask)["volume_ml"] < plausibility.VOLUME_ML[0]
    assert plausibility.doubts(plausibility.measure(half, mask), 0.95) == ()
