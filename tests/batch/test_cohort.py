"""One mixture for a cohort: what it is a mixture of, and what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from brainseg.batch.cohort import (
    fit_cohort,
    histogram_of,
    normalised_histogram,
    read_prior,
    write_cohort,
)
from brainseg.batch.engines.serial import SerialEngine
from brainseg.core.volume import Volume
from brainseg.errors import NoInputError, NothingMatchedError, UsageError
from brainseg.io import nifti
from brainseg.io.grids import grid_of
from brainseg.tissues.cohort import in_intensities

MEANS, SDS = (0.2, 0.5, 0.9), 0.04


def brain(seed: int, *, gain: float = 1.0, means: tuple[float, ...] = MEANS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return gain * np.concatenate([rng.normal(m, SDS, 4000) for m in means]).astype(np.float32)


def write_scan(out: Path, name: str, values: np.ndarray) -> Path:
    """Write a finished scan of 30 x 20 x 20 voxels, all of them brain."""
    folder = out / name / "anat"
    folder.mkdir(parents=True)
    volume = Volume(values.reshape(30, 20, 20), np.eye(4))
    grid = grid_of(volume)
    for ending, data in {
        "desc-preproc_T1w": volume.data,
        "desc-brain_mask": np.ones(volume.shape, np.uint8),
    }.items():
        path = folder / f"{name}_{ending}.nii.gz"
        path.write_bytes(nifti.compress(nifti.image_bytes(data, grid)))
    return folder / name


def test_gain_and_offset_of_the_scanner_do_not_count() -> None:
    one, other = normalised_histogram(brain(0)), normalised_histogram(700 * brain(0) + 55)
    assert one.total == other.total == 12000
    # Rounding to cells may move a voxel at a border to the neighbouring one.
    assert one.counts @ one.values[:, 0] == pytest.approx(
        other.counts @ other.values[:, 0], abs=1.0
    )


def test_a_hot_voxel_changes_nothing_else() -> None:
    values = brain(0)
    hot = values.copy()
    hot[0] = 1e6
    a, b = normalised_histogram(values), normalised_histogram(hot)
    assert b.values.max() == 1.5
    assert abs(a.counts @ a.values[:, 0] - b.counts @ b.values[:, 0]) < 5


def test_the_cohorts_mixture_is_that_of_its_scans_and_shows_the_odd_one(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path, f"sub-{i}", brain(i, gain=10.0**i)) for i in range(5)]
    scans.append(write_scan(tmp_path, "sub-odd", brain(9, means=(0.2, 0.35, 0.9))))
    cohort = fit_cohort(scans, 3, SerialEngine(histogram_of))
    # Percentiles 2 and 98 lie near the outer means; the inner one keeps its share of the way.
    assert cohort.mixture.means_[1, 0] == pytest.approx((0.5 - 0.14) / (0.96 - 0.14), abs=0.05)
    assert min(cohort.log_likelihood, key=lambda s: cohort.log_likelihood[s]) == "sub-odd"
    again = fit_cohort(scans[::-1], 3, SerialEngine(histogram_of))
    np.testing.assert_array_equal(again.mixture.means_, cohort.mixture.means_)
    path = write_cohort(tmp_path, cohort)
    assert set(json.loads(path.read_text())["scans"]) == {s.name for s in scans}


def test_the_cohorts_mixture_read_back_is_that_of_any_of_its_scans(tmp_path: Path) -> None:
    scans = [write_scan(tmp_path, f"sub-{i}", brain(i, gain=10.0**i)) for i in range(3)]
    path = write_cohort(tmp_path, fit_cohort(scans, 3, SerialEngine(histogram_of)))
    values = 7.0 * brain(9) + 100.0
    weights, means, covariances = in_intensities(read_prior(path), values)
    np.testing.assert_allclose(weights, 1 / 3, atol=0.02)
    # Another sample of 12,000 voxels: its percentiles lie within a tenth of a standard deviation.
    np.testing.assert_allclose(means[:, 0], 7.0 * np.array(MEANS) + 100.0, atol=7.0 * SDS / 10)
    np.testing.assert_allclose(np.sqrt(covariances[:, 0, 0]), 7.0 * SDS, rtol=0.1)


GOOD = {
    "weights": [0.5, 0.5], "means": [[0.2], [0.8]], "covariances": [[[0.01]], [[0.01]]],
    "percentiles": [2.0, 98.0],
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"covariances": [[[1e9]], [[0.01]]]}, {"covariances": [[[0.0]], [[0.01]]]},
        {"covariances": [[[-1.0]], [[0.01]]]}, {"covariances": [[["0.01"]], [[0.01]]]},
        {"means": [[1e300], [0.5]]}, {"means": [[0.2]]}, {"means": [0.2, 0.8]},
        {"weights": [0.5, "0.5"]}, {"weights": [2.0, -1.0]}, {"weights": [0.1, 0.1]},
        {"weights": None}, {"percentiles": [98.0, 2.0]}, {"percentiles": [2.0]},
    ],
)  # fmt: skip
def test_a_cohorts_mixture_that_is_none_is_refused(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(GOOD))
    assert read_prior(path).means == (0.2, 0.8)
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(UsageError, match=r"other\.json: "):
        read_prior(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"weights": [1]}', "[" * 9999])
def test_what_is_no_cohorts_mixture_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"other\.json: .* is no group_desc-cohort"):
        read_prior(path)
    with pytest.raises(NoInputError, match="absent"):
        read_prior(tmp_path / "absent.json")


def test_a_scan_that_cannot_be_read_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = write_scan(tmp_path, "sub-1", brain(1))
    absent = tmp_path / "sub-2" / "anat" / "sub-2"
    cohort = fit_cohort([good, absent], 3, SerialEngine(histogram_of))
    assert set(cohort.log_likelihood) == {"sub-1"}
    assert "sub-2: left out" in caplog.text
    with pytest.raises(NothingMatchedError):
        fit_cohort([absent], 3, SerialEngine(histogram_of))
