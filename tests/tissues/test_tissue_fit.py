from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from tissue_heads import MEANS, dice, small_brain

from brainseg.errors import DataError, UsageError
from brainseg.tissues import tables
from brainseg.tissues.bias import LEAST_SD
from brainseg.tissues.fit import FitOptions, TissueFit, fit_tissues
from brainseg.tissues.start import first_anchors

ZOOMS = (3.0, 3.0, 3.0)


def fit(
    data: np.ndarray,
    mask: np.ndarray,
    table: str = "intensity",
    channels: Any = None,
    spatial_prior: Any = None,
    **options: Any,
) -> TissueFit:
    return fit_tissues(
        data,
        mask,
        ZOOMS,
        table=tables.table(table),
        options=FitOptions(**options),
        channels=channels,
        spatial_prior=spatial_prior,
    )


def scores(result: TissueFit, mask: np.ndarray, truth: np.ndarray) -> list[float]:
    values = tables.THREE.values  # of CSF, grey, white; the truth's are 1, 2, 3
    return [dice(result.three_labels == v, truth[mask] == k) for k, v in enumerate(values, 1)]


def test_tissues_of_a_known_brain_are_found() -> None:
    data, mask, truth = small_brain(noise=0.04, blur=0.4)
    result = fit(data, mask)
    assert min(scores(result, mask, truth)) > 0.93
    assert (np.diff(result.mixture.means_[:, 0]) > 0).all()
    # White matter's mean in the scan's own units, to its noise.
    assert abs(result.mixture.means_[5, 0] - MEANS[3]) < 0.05 * MEANS[3]


def test_probabilities_sum_to_one_and_labels_are_their_maximum() -> None:
    data, mask, _ = small_brain()
    result = fit(data, mask)
    np.testing.assert_allclose(result.responsibilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(result.fractions.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(result.labels, result.responsibilities.argmax(axis=1) + 1)


def test_a_strong_field_and_noise_cost_little() -> None:
    clean = scores(fit(*small_brain()[:2]), *small_brain()[1:])
    data, mask, truth = small_brain(noise=0.07, bias=0.4)
    both = scores(fit(data, mask), mask, truth)
    without = scores(fit(data, mask, bias="none"), mask, truth)
    assert both[2] > clean[2] - 0.06
    assert both[2] > without[2]


def test_the_neighbourhood_helps_where_there_is_noise() -> None:
    data, mask, truth = small_brain(noise=0.09)
    plain = scores(fit(data, mask, smooth=0.0), mask, truth)
    heard = scores(fit(data, mask), mask, truth)
    assert heard[1] > plain[1] + 0.01
    assert heard[2] > plain[2] + 0.01


@pytest.mark.parametrize("change", ["scale", "offset", "outlier"])
def test_units_and_accidents_of_the_scanner_do_not_matter(change: str) -> None:
    data, mask, _ = small_brain(bias=0.2)
    changed = {"scale": data * 1000, "offset": data + 5000, "outlier": data.copy()}[change]
    if change == "outlier":
        changed[tuple(np.argwhere(mask)[100])] = 1e30
    one, two = fit(data, mask), fit(changed.astype(np.float32), mask)
    assert (one.labels == two.labels).mean() > 0.999


def test_the_same_seed_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    # Several parts for each thread, in a brain this small.
    monkeypatch.setattr("brainseg.tissues.voxels._CHUNK", 5000)
    data, mask, _ = small_brain(bias=0.2)
    one, two = fit(data, mask, threads=1), fit(data, mask, threads=2)
    assert one.responsibilities.tobytes() == two.responsibilities.tobytes()


@pytest.mark.parametrize("bias", ["em", "n4", "none"])
@pytest.mark.parametrize("table", ["three", "four", "intensity"])
def test_every_table_and_field(table: str, bias: str) -> None:
    data, mask, _ = small_brain(size=32)
    result = fit(data, mask, {"four": "4"}.get(table, table), bias=bias)
    n = {"three": 3, "four": 4, "intensity": 6}[table]
    assert result.responsibilities.shape == (mask.sum(), n)
    assert set(np.unique(result.labels)) <= set(range(1, n + 1))
    assert (result.log_bias is None) == (bias == "none")
    assert np.isfinite(result.mixture.covariances_).all()


def test_a_coils_field_is_kept_whole_and_one_too_small_to_be_believed_is_not() -> None:
    data, mask, _ = small_brain(bias=0.4)
    found = fit(data, mask).log_bias
    assert found is not None
    assert found[mask].std() > LEAST_SD
    even, mask, _ = small_brain(bias=0.02)
    none = fit(even, mask).log_bias
    assert none is not None
    assert not none[mask].any()


def test_pure_likelihood_is_the_engines_own_fit() -> None:
    from brainseg.mixture import GaussianMixture

    data, mask, _ = small_brain()
    result = fit(data, mask, prior="none", bias="none", smooth=0.0)
    x = np.clip(data[mask], *np.percentile(data[mask], [0.1, 99.9]))
    own = GaussianMixture(6).fit(x.astype(np.float64))
    np.testing.assert_allclose(result.mixture.means_, own.means_, rtol=0.01)
    assert (result.labels == own.predict(x.astype(np.float64)) + 1).mean() > 0.98


def test_a_second_contrast_helps_and_keeps_the_order() -> None:
    data, mask, truth = small_brain(noise=0.1, seed=1)
    other, _, _ = small_brain(noise=0.1, seed=2)
    t2 = (900 - other) * mask
    alone = scores(fit(data, mask, smooth=0.0), mask, truth)
    result = fit(data, mask, smooth=0.0, channels={"T2w": t2.astype(np.float32)})
    assert result.mixture.means_.shape == (6, 2)
    assert (np.diff(result.mixture.means_[:, 0]) > 0).all()
    assert scores(result, mask, truth)[2] > alone[2]


def test_the_order_of_contrasts_does_not_matter() -> None:
    data, mask, _ = small_brain(noise=0.06, size=32, seed=1)
    t2 = ((900 - small_brain(noise=0.06, size=32, seed=2)[0]) * mask).astype(np.float32)
    pd = (np.sqrt(small_brain(noise=0.06, size=32, seed=3)[0]) * mask).astype(np.float32)
    one = fit(data, mask, channels={"T2w": t2, "PDw": pd})
    two = fit(data, mask, channels={"PDw": pd, "T2w": t2})
    # Sums in another order differ in the last bits, which the steps of EM may carry on.
    np.testing.assert_allclose(one.mixture.means_, two.mixture.means_[:, [0, 2, 1]], rtol=1e-3)
    assert (one.labels == two.labels).mean() > 0.999


@pytest.mark.parametrize("table", ["three", "intensity"])
def test_no_smoothing_is_the_mixture_itself(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bayes' rule for the fitted components, voxel by voxel, and nothing else."""
    from scipy.special import softmax

    from brainseg.tissues import fit as tissue_fit

    seen: dict[str, Any] = {}

    def watched(scan: Any, model: Any, **options: Any) -> Any:
        seen.update(scan=scan, model=model)
        return decide(scan, model, **options)

    decide = tissue_fit.decide
    monkeypatch.setattr(tissue_fit, "decide", watched)
    data, mask, _ = small_brain(size=32, noise=0.07, bias=0.2)
    result = fit(data, mask, table, smooth=0.0)
    model = seen["model"]
    values = seen["scan"].values(np.flatnonzero(seen["scan"].inside))
    components = softmax(model.log_joint(values, None), axis=1)
    of_tissue = np.eye(result.responsibilities.shape[1])[list(model.tissues)]
    # To the rounding of float32, in which the maps are held.
    np.testing.assert_allclose(result.responsibilities, components @ of_tissue, atol=2e-6)


def test_six_tissues_follow_the_atlas() -> None:
    data, mask, truth = small_brain(noise=0.04)
    # A prior that knows a block of grey-like voxels as deep grey, the rest roughly.
    atlas = np.full((7, *data.shape), 0.02, np.float32)
    atlas[0][truth == 1] = 0.9
    atlas[1][truth == 2] = 0.9
    atlas[2][truth == 3] = 0.9
    block = (truth == 2) & (np.indices(data.shape)[2] < 12)
    atlas[1][block] = 0.02
    atlas[3][block] = 0.9
    result = fit(data, mask, "six", spatial_prior=atlas[:, mask])
    assert dice(result.labels == 4, block[mask]) > 0.85
    assert dice(result.labels == 3, (truth == 3)[mask]) > 0.9


def test_white_matter_as_dark_as_cortex_stays_white_where_the_atlas_is_sure() -> None:
    data, mask, truth = small_brain(noise=0.05)
    atlas = np.full((7, *data.shape), 0.002, np.float32)
    for k in range(3):
        atlas[k] += ndimage.gaussian_filter((truth == k + 1).astype(np.float32), 1.0)
    deep = ndimage.binary_erosion(truth == 3, iterations=3)
    island = deep & (np.indices(data.shape)[0] < np.argwhere(deep)[:, 0].mean())
    assert np.count_nonzero(island) > 50
    data[island] *= MEANS[2] / MEANS[3]
    result = fit(data, mask, "six", spatial_prior=atlas[:, mask])
    white = tables.THREE.values[2]
    assert (result.three_labels[island[mask]] == white).mean() > 0.9
    assert min(scores(result, mask, truth)) > 0.9


def test_dim_white_matter_does_not_learn_what_a_flair_shows_in_it() -> None:
    data, mask, truth = small_brain(noise=0.03)
    atlas = np.full((7, *data.shape), 0.002, np.float32)
    for k in range(3):
        atlas[k] += truth == k + 1
    flair = np.array([0, 100, 500, 400], np.float32)[truth]
    lesion = ndimage.binary_erosion(truth == 3, iterations=3)
    lesion[data.shape[0] // 2 :] = False
    flair[lesion] = np.random.default_rng(0).uniform(600, 700, np.count_nonzero(lesion))
    data[lesion] *= MEANS[2] / MEANS[3]
    flair += 20 * np.random.default_rng(1).standard_normal(flair.shape).astype(np.float32)
    result = fit(data, mask, "six", {"FLAIR": flair}, spatial_prior=atlas[:, mask])
    assert result.lesions is not None
    bright = lesion & (flair > 600)
    assert (result.lesions[bright[mask]] > 0.5).mean() > 0.9


def test_six_needs_the_atlas() -> None:
    data, mask, _ = small_brain(size=24)
    with pytest.raises(UsageError, match="map of the head"):
        fit(data, mask, "six")


def test_too_few_values_are_refused_in_one_line() -> None:
    mask = np.ones((8, 8, 8), bool)
    with pytest.raises(DataError, match="2 different intensities"):
        fit((np.indices((8, 8, 8))[0] > 3).astype(np.float32), mask)
    with pytest.raises(DataError, match="empty"):
        fit(np.zeros((8, 8, 8), np.float32), ~mask)


def test_oasis_brain_reaches_what_its_manual_labels_allow(shared_data: Any) -> None:
    import nibabel as nib

    folder = shared_data / "truth" / "oasis"
    if not folder.is_dir():
        pytest.skip("the manual labels of OASIS are not here")
    data, mask, truth = (
        np.squeeze(np.asanyarray(nib.load(folder / f"1003_{part}.nii.gz").dataobj))
        for part in ("SS", "mask", "classified")
    )
    mask = mask > 0
    result = fit_tissues(data.astype(np.float32), mask, (1.0, 1.0, 1.0), table=tables.INTENSITY)
    # Measured 0.92 and 0.92; FAST has 0.87 and 0.90 on such brains.
    found = scores(result, mask, truth)
    assert min(found[1:]) > 0.9


def test_the_start_is_found_among_the_clusters() -> None:
    rng = np.random.default_rng(0)
    pure = np.array([0.24, 0.6, 0.9])
    values = rng.normal(pure[rng.choice(3, 20_000, p=[0.2, 0.45, 0.35])], 0.06)
    np.testing.assert_allclose(first_anchors(values), pure, atol=0.03)


@pytest.mark.parametrize("scale", [0.001, 1.0003, 700.0])
def test_whole_numbers_on_the_edge_of_a_bin_do_not_move_the_start(scale: float) -> None:
    rng = np.random.default_rng(0)
    means = rng.choice([40.0, 70.0, 100.0], 20_000, p=[0.2, 0.45, 0.35])
    whole = np.clip(np.rint(rng.normal(means, 9)), 20, 120)
    values = ((whole * scale).astype("f4") / np.float32(120 * scale)).astype(float)
    # float32 rounds in the seventh digit; sharp edges of bins made that the third
    np.testing.assert_allclose(first_anchors(values), first_anchors(whole / 120), rtol=1e-5)
