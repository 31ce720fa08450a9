from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from tissue_heads import small_brain

from brainseg.core.metrics import dice
from brainseg.tissues import tables
from brainseg.tissues.fit import TissueFit, fit_tissues
from brainseg.tissues.lesions import LEAST_MM3, LesionModel, in_white_matter
from brainseg.tissues.model import INTENSITY

# FLAIR of nothing, CSF, grey, white.
FLAIR = np.array([0.0, 60.0, 600.0, 470.0])


def brain_with_lesion(
    radius: float = 3.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """T1w, FLAIR, mask, truth and a ball in the white matter: grey on T1w, bright on FLAIR."""
    data, mask, truth = small_brain(noise=0.03)
    rng = np.random.default_rng(3)
    middle = np.array([20, 20, 31])
    ball = ((np.indices(mask.shape).T - middle).T ** 2).sum(axis=0) < radius**2
    ball &= truth == 3
    flair = FLAIR[truth]
    flair[ball] = 850
    flair += 20 * rng.standard_normal(mask.shape)
    data[ball] = 600 + 23 * rng.standard_normal(int(ball.sum()))
    return data, flair.astype(np.float32), mask, truth, ball


def fit(
    data: np.ndarray, flair: np.ndarray, mask: np.ndarray, table: str = "intensity"
) -> TissueFit:
    return fit_tissues(
        data, mask, (1.0, 1.0, 1.0), table=tables.table(table), channels={"FLAIR": flair}
    )


@pytest.mark.parametrize("table", ["three", "intensity"])
def test_a_lesion_is_found_and_counts_as_white_matter(table: str) -> None:
    data, flair, mask, _, ball = brain_with_lesion()
    result = fit(data, flair, mask, table)
    assert result.lesions is not None
    found = np.zeros(mask.shape, np.float32)
    found[mask] = result.lesions
    inner = ndimage.binary_erosion(ball)
    assert inner.sum() > 10
    assert found[inner].min() > 0.9
    assert found[mask & ~ndimage.binary_dilation(ball)].max() < 0.5
    # In T1w intensity it is grey; it counts as what it is a lesion of.
    assert (result.three_labels[inner[mask]] == 2).all()
    assert result.fractions[inner[mask], 2].min() > 0.9
    np.testing.assert_allclose(result.responsibilities.sum(axis=1), 1, atol=1e-5)


def test_lesions_do_not_move_white_matter() -> None:
    """Means of white matter in both contrasts: with and without lesions of a tenth of it."""
    data, flair, mask, truth, _ = brain_with_lesion()
    rng = np.random.default_rng(5)
    spots = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 2)
    spots = (spots > np.quantile(spots[truth == 3], 0.9)) & (truth == 3)
    ill_data, ill_flair = data.copy(), flair.copy()
    ill_data[spots], ill_flair[spots] = 560, 900
    well, ill = fit(data, flair, mask), fit(ill_data, ill_flair, mask)
    # A tenth at 900 instead of 470, if taken in, would move the mean by 43: two noise levels.
    shift = ill.mixture.means_[5] - well.mixture.means_[5]
    assert np.abs(shift).max() < 20


def test_a_heavy_load_does_not_teach_white_matter_to_be_as_wide() -> None:
    """Lesions of a third of the white matter, little brighter than it and of all degrees."""
    data, flair, mask, truth, _ = brain_with_lesion(radius=0)
    rng = np.random.default_rng(5)
    spots = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 2)
    spots = (spots > np.quantile(spots[truth == 3], 0.66)) & (truth == 3)
    flair = flair + np.float32(20) * rng.standard_normal(mask.shape).astype(np.float32)
    flair[spots] += rng.uniform(150, 330, int(spots.sum())).astype(np.float32)
    data[spots] = 700 + 30 * rng.standard_normal(int(spots.sum()))
    result = fit(data, flair, mask)
    assert result.lesions is not None
    found = np.zeros(mask.shape, bool)
    found[mask] = result.lesions > 0.5
    assert dice(found, spots) > 0.7
    assert result.fractions[spots[mask], 1].mean() < 0.1


def test_a_healthy_brain_has_no_candidates() -> None:
    data, mask, truth = small_brain(noise=0.03)
    flair = FLAIR[truth] + 20 * np.random.default_rng(3).standard_normal(mask.shape)
    result = fit(data, flair.astype(np.float32), mask)
    assert result.lesions is not None
    # Any candidate must have LEAST_MM3 voxels of 1 mm.
    assert (result.lesions > 0.5).sum() < LEAST_MM3


def test_without_flair_there_is_no_map() -> None:
    data, mask, _ = small_brain(size=32)
    zooms = (1.0, 1.0, 1.0)
    assert fit_tissues(data, mask, zooms, table=tables.INTENSITY).lesions is None
    t2 = {"T2w": (900 - data) * mask}
    assert fit_tissues(data, mask, zooms, table=tables.INTENSITY, channels=t2).lesions is None


def test_candidates_in_cortex_in_fluid_and_specks_fall() -> None:
    shape = (30, 30, 30)
    lesion, csf, grey, white = (np.zeros(shape, np.float32) for _ in range(4))
    csf[:10], grey[10:20], white[20:] = 1, 1, 1
    places = {"csf": (slice(3, 6), 15, 15), "grey": (15, 15, 15), "white": (25, 15, 15)}
    lesion[2:6, 12:16, 12:16] = 0.9
    lesion[13:17, 12:16, 12:16] = 0.9
    lesion[23:27, 12:16, 12:16] = 0.9
    lesion[25, 3, 3] = 0.9  # a speck
    kept = in_white_matter(lesion, np.stack([csf, grey, white]), (1.0, 1.0, 1.0))
    assert (kept[places["csf"]] == 0).all()
    assert kept[places["grey"]] == 0
    assert kept[places["white"]] == np.float32(0.9)
    assert kept[25, 3, 3] == 0


def test_the_unexplained_begins_at_a_rare_distance_and_only_on_the_bright_side() -> None:
    """One tissue of weight 1: at the distance that one in a thousand exceeds, both are alike."""
    white = [c for c in INTENSITY if c.name == "white"]
    means, covariances = np.array([[0.8, 0.5]]), np.eye(2)[None] * 0.01
    radius = np.sqrt(-2 * np.log(1e-3)) * 0.1  # chi-squared with two degrees of freedom
    values = np.array([[0.8, 0.5 + radius], [0.8, 0.5 - radius]])
    found = LesionModel(1, tuple(white)).log_joint(values, np.zeros(1), means, covariances)
    density = -np.log(2 * np.pi * 0.01) - 0.5 * (radius / 0.1) ** 2
    np.testing.assert_allclose(found[0], density)
    assert found[1] == -np.inf


def test_derivatives_and_report_show_the_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brainseg import pipeline
    from brainseg.config import SegmentConfig
    from brainseg.run import Job, plain_target, run_scan

    # A head this round may be turned about its axis; alignment has tests of its own.
    monkeypatch.setattr(pipeline, "align_contrast", lambda moving, *_, **__: moving.data)
    data, flair, mask, _, ball = brain_with_lesion()
    affine = np.diag([3.5, 3.5, 3.5, 1.0])
    paths = {}
    for name, values in {"T1w": data, "FLAIR": flair * mask, "mask": mask.astype("u1")}.items():
        paths[name] = tmp_path / f"sub-1_{name}.nii.gz"
        nib.save(nib.Nifti1Image(values, affine), paths[name])
    job = Job(
        paths["T1w"], plain_target(paths["T1w"], tmp_path / "out"), mask=paths["mask"],
        contrasts=(("FLAIR", paths["FLAIR"]),),
    )  # fmt: skip
    run_scan(job, SegmentConfig(mask="file", prior="tied", tissues="three"))
    found = nib.load(tmp_path / "out" / "sub-1_label-L_probseg.nii.gz").get_fdata()
    assert found[ndimage.binary_erosion(ball)].min() > 0.9
    assert (tmp_path / "out" / "sub-1_label-L_probseg.json").exists()
    assert 'id="lesions"' in (tmp_path / "out" / "sub-1_report.html").read_text("utf-8")
