"""One mixture for several sessions: equal sessions differ in nothing, and changes are seen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from tissue_heads import small_brain

from brainseg.errors import DataError
from brainseg.longitudinal.joint import JointFit, JointOptions, fit_sessions
from brainseg.tissues.tables import THREE

ZOOMS = (3.0, 3.0, 3.0)
OPTIONS = JointOptions(THREE, bias=False)


def volumes(fit: JointFit) -> NDArray[np.float64]:
    """Volumes of CSF, GM and WM of each session, in voxels."""
    return np.array([v.fractions.sum(axis=0, dtype=np.float64) for v in fit.voxels])


def test_equal_sessions_differ_in_no_bit() -> None:
    one, mask, _ = small_brain(seed=1)
    fit = fit_sessions([[one], [one.copy()]], mask, ZOOMS, None, JointOptions(THREE))
    first, second = fit.voxels
    assert (first.responsibilities == second.responsibilities).all()
    assert (first.fractions == second.fractions).all()
    assert np.ptp(fit.gains) == 0


def test_gain_and_offset_of_a_session_are_its_own() -> None:
    one, mask, truth = small_brain(seed=1)
    other, _, _ = small_brain(seed=2)
    found = volumes(fit_sessions([[one], [1.1 * other + 40]], mask, ZOOMS, None, OPTIONS))
    # the same tissue twice: what differs is noise of 3 % in 25,000 voxels
    assert np.abs(found[1] / found[0] - 1).max() < 0.01
    true = np.bincount(truth[mask], minlength=4)[1:]
    assert np.abs(found / true - 1).max() < 0.05


@pytest.mark.parametrize("radius", [0.26, 0.32])
def test_a_change_is_measured(radius: float) -> None:
    one, mask, truth = small_brain(seed=1)
    other, _, _ = small_brain(seed=2)
    grid = (np.indices(one.shape) - 19.5) / 20
    grown = (np.sqrt((grid**2).sum(axis=0)) < radius) & (truth != 1)
    ventricle = other[truth == 1]
    other[grown] = np.random.default_rng(0).choice(ventricle, int(grown.sum()))
    found = volumes(fit_sessions([[one], [other]], mask, ZOOMS, None, OPTIONS))
    change = found[1] - found[0]
    # white matter turned into fluid: within a tenth of what turned
    assert change[0] == pytest.approx(grown.sum(), rel=0.1)
    assert change[2] == pytest.approx(-grown.sum(), rel=0.1)


def test_an_empty_mask_is_refused() -> None:
    one, mask, _ = small_brain()
    with pytest.raises(DataError, match="empty"):
        fit_sessions([[one], [one]], np.zeros_like(mask), ZOOMS, None, OPTIONS)


def test_label_maps_are_refused() -> None:
    one, mask, truth = small_brain()
    with pytest.raises(DataError, match="few different intensities"):
        fit_sessions([[one], [(truth > 2).astype(np.float32)]], mask, ZOOMS, None, OPTIONS)


def test_bright_accidents_of_one_session_move_no_other() -> None:
    one, mask, _ = small_brain(seed=1)
    other, _, _ = small_brain(seed=2)
    clean = volumes(fit_sessions([[one], [other]], mask, ZOOMS, None, OPTIONS))
    blobs = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(mask.shape), 1.5)
    enhanced = mask & (blobs > np.quantile(blobs[mask], 0.97))
    other[enhanced] = 1.7 * np.percentile(other[mask], 90)
    found = volumes(fit_sessions([[one], [other]], mask, ZOOMS, None, OPTIONS))
    # What the agent hides is lost to its tissue, or counts as white; two per cent beside.
    assert np.abs(found[0] / clean[0] - 1).max() < 0.02
    assert (np.abs(found[1] - clean[1]) < enhanced.sum() + 0.02 * clean[1]).all()


def test_more_noise_at_one_visit_is_no_change() -> None:
    one, mask, _ = small_brain(seed=1, noise=0.03)
    other, _, _ = small_brain(seed=2, noise=0.08)
    found = volumes(fit_sessions([[one], [other]], mask, ZOOMS, None, OPTIONS))
    # With one noise for both, CSF seems to gain 2.7 % and grey matter to lose 2.0.
    assert np.abs(found[1] / found[0] - 1).max() < 0.005
