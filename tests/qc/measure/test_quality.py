"""Quality numbers mean what their formulas say, and point the right way."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from qc_heads import SD, head, record

from brainseg.core.volume import Volume
from brainseg.qc.measure import quality
from brainseg.qc.measure.air import surroundings
from brainseg.qc.measure.numbers import BY_KEY, NUMBERS, OF_HEAD
from brainseg.qc.measure.quality import (
    Quality,
    efc,
    grown,
    measure,
    overlaps,
    rpve,
    summary,
    told_by_intensity,
)
from brainseg.qc.measure.subject import from_result
from brainseg.qc.measure.summary import quality_json
from brainseg.qc.measure.verdict import judge
from brainseg.qc.review import study
from brainseg.tissues.tables import INTENSITY, SIX, THREE


def measured(**options) -> tuple:
    scan, result = head(**options)
    subject = from_result(scan, result, record(scan, result))
    return subject, measure(subject, surroundings(subject))


@pytest.fixture(scope="module")
def good():
    return measured()


def test_every_number_is_given_and_explained(good):
    _, q = good
    assert set(q.values) == set(BY_KEY) - set(OF_HEAD)
    assert all(n.what and n.better in ("lower", "higher", "–") for n in NUMBERS)
    assert all(v is not None for v in q.values.values())


def test_dietrich_recovers_signal_over_the_noise_of_air(good):
    _, q = good
    # Air is Rayleigh with the sigma 2 of `head`; white matter's mean is near 110 over it.
    median = q.get("summary_wm_median")
    # The head's bias field, 10 % up and down, lies over the air too.
    assert q.get("snrd_wm") == pytest.approx(median / 2.0, rel=0.15)


def test_air_that_is_as_bright_as_csf_is_still_air_and_asks_for_a_look():
    subject, q = measured(air=12.0)
    # Its mean, 15, lies above the fixed share of the brain's median that tells head from air.
    assert q.get("snrd_wm") == pytest.approx(q.get("summary_wm_median") / 12.0, rel=0.15)
    verdict = judge(subject, q)
    assert verdict.level == "look"
    assert any("noise of the air" in c.reason for c in verdict.checks)


def test_a_picture_without_air_is_not_given_any():
    subject, _ = measured()
    box = tuple(slice(n // 4, 3 * n // 4) for n in subject.mask.shape)
    inside = dataclasses.replace(
        subject,
        volume=Volume(subject.volume.data[box], subject.volume.affine),
        mask=np.ones_like(subject.mask[box]),
        bias=None,
    )
    around = surroundings(inside)
    assert around.air.size == 0
    assert around.head.size > 1000


def test_signal_to_noise_follows_the_noise(good):
    _, q = good
    _, noisy = measured(noise=3 * SD)
    assert noisy.get("fwhm_avg") < q.get("fwhm_avg")
    assert noisy.get("snr_wm") < q.get("snr_wm")


def test_numbers_of_ratios_ignore_the_scale_of_the_scan(good):
    subject, q = good
    scaled = dataclasses.replace(
        subject, volume=subject.volume.with_data(subject.volume.data * np.float32(1000))
    )
    again = measure(scaled, surroundings(scaled))
    for key in ("snr_wm", "cnr", "cjv", "efc", "fber", "wm2max", "fwhm_avg", "mask_cut"):
        assert again.get(key) == pytest.approx(q.get(key), rel=1e-3), key


def test_a_removed_background_is_null_with_its_reason():
    _, q = measured(air=0)
    for key in ("snrd_wm", "efc", "fber", "summary_bg_mean"):
        assert q.get(key) is None
        assert "background was removed" in q.reasons[key]
    assert q.get("cnr") is not None
    assert json.loads(quality_json(q, judge(measured(air=0)[0], q)))["missing"]["efc"]


def test_efc_is_1_for_an_even_image_and_small_for_a_point():
    even, point = np.ones((8, 8, 8)), np.zeros((8, 8, 8))
    point[4, 4, 4] = 5
    assert efc(even) == pytest.approx(1.0)
    assert efc(point) == pytest.approx(0.0, abs=1e-6)
    # Found by the fuzzer: the squares of large values overflowed.
    assert efc(even * np.float32(1e30)) == pytest.approx(1.0)


def test_rpve_is_half_for_even_fractions_and_1_for_pure_ones():
    assert rpve(np.linspace(0, 1, 10001)) == pytest.approx(0.5 * 0.96, abs=0.01)
    assert rpve(np.ones(100)) == pytest.approx(1.0)


def test_fwhm_of_smoothed_noise_is_that_of_its_kernel():
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(0).normal(size=(60, 60, 60)), 2.0)
    difference = np.diff(noise, axis=0).ravel()
    width = quality._fwhm(difference, float(noise.var()), 1.5)
    # Forman's formula measures the smoothness of the field: sqrt(8 ln 2) sigma of the kernel.
    assert width == pytest.approx(1.5 * 2.0 * np.sqrt(8 * np.log(2)), rel=0.05)


def test_overlap_of_the_same_and_of_distant_gaussians():
    assert overlaps(np.array([1.0, 1.0]), np.array([2.0, 2.0]))[0] == pytest.approx(1.0)
    assert overlaps(np.array([0.0, 50.0]), np.array([1.0, 1.0]))[0] < 1e-9


def test_regions_need_not_differ_in_intensity() -> None:
    assert told_by_intensity(SIX) == [0, 1, 2]
    assert told_by_intensity(THREE) == [0, 1, 2]
    assert told_by_intensity(INTENSITY) == [0, 1, 2, 3, 4, 5]


def test_summary_is_that_of_a_normal_sample():
    s = summary(np.random.default_rng(1).normal(50, 5, 200_000))
    assert s["mean"] == pytest.approx(50, abs=0.1)
    assert s["mad"] == pytest.approx(5, rel=0.02)  # scaled to the sd
    assert s["k"] == pytest.approx(0, abs=0.05)
    assert summary(np.ones(3))["mean"] is None


def test_growing_a_mask_is_a_box_that_stays_on_the_grid():
    mask = np.zeros((7, 7, 7), dtype=bool)
    mask[0, 3, 3] = True
    wide = grown(mask, [2, 1, 0])
    assert wide.sum() == 3 * 3 * 1
    assert wide[:3, 2:5, 3].all()


def test_a_good_scan_passes(good):
    subject, q = good
    assert judge(subject, q).level == "pass"


def test_a_leaking_mask_does_not_pass():
    subject, q = measured(mask_scale=1.22)
    verdict = judge(subject, q)
    assert verdict.level == "fail"
    assert any("mL" in c.reason for c in verdict.checks)


def test_a_mask_that_runs_through_bone_is_pointed_at():
    _, whole = measured()
    _, leaking = measured(mask_scale=1.1)
    assert leaking.get("mask_bone") > 0.8 > 0.1 > whole.get("mask_bone")


def test_a_mask_that_cuts_cortex_is_pointed_at():
    _, whole = measured()
    _, cut = measured(mask_scale=0.85)
    assert cut.get("mask_cut") > whole.get("mask_cut") + 0.2


def test_a_mask_beside_the_brain_has_wrong_edges(good):
    subject, whole = good
    beside = dataclasses.replace(subject, mask=np.roll(subject.mask, 6, axis=1))
    moved = measure(beside, surroundings(beside))
    assert moved.get("mask_edge") == moved.get("mask_cut") + moved.get("mask_bone")
    assert moved.get("mask_edge") > 0.45 > whole.get("mask_edge")


def test_warnings_ask_for_a_look(good):
    subject, q = good
    verdict = judge(subject, q, ["the route fell back"])
    assert verdict.level == "look"
    assert any("fell back" in c.reason for c in verdict.checks)


def test_a_missing_number_is_no_failure_but_a_check_that_cannot_be_made_is_no_pass(good):
    subject, q = good
    no_air = {k: None if k.startswith(("snrd", "efc", "fber")) else v for k, v in q.values.items()}
    assert judge(subject, Quality(no_air, {})).level == "pass"
    no_contrast = q.values | {"cjv": None}
    verdict = judge(subject, Quality(no_contrast, {}))
    assert verdict.level == "look"
    assert "tissues could not be checked" in verdict.in_words()


@pytest.mark.parametrize(
    ("history", "says"),
    [
        ([-5.0, -4.0, -3.9999], ""), ([-4.0, -4.1, -4.1001], ""), ([-4.0], ""),
        ([-5.0, -4.0, -3.9], "still rising"), ([-4.0, -4.1, -4.2], "still falling"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("converged", [True, False])
def test_a_likelihood_that_does_not_end_level_asks_for_a_look(good, history, says, converged):
    subject, q = good
    record = {**subject.record, "log_likelihood": history, "converged": converged}
    told = judge(dataclasses.replace(subject, record=record), q).in_words()
    assert told == (f"Look: EM was stopped while the likelihood was {says}" if says else "Pass")


def test_a_mask_that_was_not_compared_is_no_pass(good):
    subject, _ = good
    unknown = {"numbers": {}, "missing_at": "", "foreign_at": "", "unknown": "brain stem 0.000"}
    blind = dataclasses.replace(subject, record={**subject.record, "agreement": unknown})
    q = measure(blind, surroundings(blind))
    assert q.get("map_missing") is None
    told = judge(blind, q).in_words()
    assert told == (
        "Look: The mask could not be compared with the head network's map: brain stem 0.000"
    )
    old = {k: v for k, v in subject.record.items() if k != "agreement"}
    older = dataclasses.replace(subject, record=old)
    assert judge(older, measure(older, surroundings(older))).level == "look"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("map_inward_mm", 3.0, "cut off"), ("map_inward_mm", -5.0, "too wide"),
        ("map_distance_mm", 8.0, "another scan"), ("map_missing", 0.9, "cerebellum"),
        ("map_missing_mm", 14.0, "14.0 mm outside it: cerebellum"),
        ("map_foreign", 0.9, "vertex, left"), ("map_eyes_ml", 8.0, "eyes"),
        ("map_foreign_mm", 24.0, "24.0 mm outside the brain: vertex, left"),
        ("map_missing_cerebellum", 0.97, "97% of the cerebellum"),
        ("map_missing_brain_stem", 0.6, "brain stem"), ("map_missing_deep_grey", 0.5, "deep grey"),
        ("map_csf", 0.1, "swapped"), ("map_gm", 0.1, "swapped"), ("map_wm", 0.1, "swapped"),
    ],
)  # fmt: skip
def test_a_result_that_goes_against_the_map_fails_and_says_where(good, key, value, words):
    subject, q = good
    verdict = judge(subject, Quality(q.values | {key: value}, {}))
    assert verdict.level == "fail"
    assert words in verdict.in_words()


def test_a_scan_that_is_no_t1w_is_noticed_by_its_contrast(good):
    subject, q = good
    assert q.get("rim_to_depth") < 0.9
    # White matter 110 becomes 50, CSF 30 becomes 130: the contrast of a T2w scan.
    inverted = dataclasses.replace(
        subject, volume=subject.volume.with_data(np.float32(160) - subject.volume.data), bias=None
    )
    found = measure(inverted, surroundings(inverted))
    assert found.get("rim_to_depth") > 1.1
    assert any("T2w, PD or CT" in c.reason for c in judge(inverted, found).checks)


def test_the_verdict_in_words_names_what_is_wrong(good):
    subject, q = good
    assert judge(subject, q).in_words() == "Pass"
    assert judge(subject, q, ["the route fell back"]).in_words() == "Look: the route fell back"


def test_outliers_are_those_outside_the_quartiles():
    numbers = {f"s{n}": {"cjv": 0.4 + 0.001 * n} for n in range(20)}
    numbers["odd"] = {"cjv": 2.0}
    numbers["none"] = {"cjv": None}
    (found,) = study.outliers(numbers, ["cjv"])
    assert (found.scan, found.key) == ("odd", "cjv")
    assert found.z > 20
    assert study.outliers({"a": {"cjv": 1.0}, "b": {"cjv": 9.0}}, ["cjv"]) == []
