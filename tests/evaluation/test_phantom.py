"""The synthetic head: known truth, the asked-for noise and bias, one person per seed."""

from __future__ import annotations

import numpy as np
import pytest

from brainseg.errors import UsageError
from brainseg.evaluation.phantom import CONTRASTS, Phantom, make_phantom
from brainseg.tissues.tables import HEAD, INTENSITY, THREE

COARSE = (3.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def clean() -> Phantom:
    return make_phantom(zooms=COARSE, noise=0, bias=0)


@pytest.fixture(scope="module")
def noisy() -> Phantom:
    return make_phantom(zooms=COARSE, noise=9, bias=40)


@pytest.fixture(scope="module")
def other() -> Phantom:
    return make_phantom(zooms=COARSE, noise=1, bias=0, contrast="T2w", seed=5)


def test_same_seed_same_head_other_seed_another(noisy: Phantom, other: Phantom) -> None:
    again = make_phantom(zooms=COARSE, noise=9, bias=40)
    np.testing.assert_array_equal(noisy.volume.data, again.volume.data)
    assert (noisy.six != other.six).mean() > 0.02


def test_noise_and_bias_leave_the_anatomy_alone(clean: Phantom, noisy: Phantom) -> None:
    np.testing.assert_array_equal(noisy.six, clean.six)
    np.testing.assert_array_equal(noisy.intensity, clean.intensity)
    np.testing.assert_array_equal(noisy.mask, clean.mask)


def test_classes_of_intensity_run_from_dark_to_bright(clean: Phantom) -> None:
    means = [clean.volume.data[clean.intensity == t.index].mean() for t in INTENSITY.tissues]
    assert means == sorted(means)


def test_every_tissue_has_a_sensible_volume(clean: Phantom) -> None:
    ml = clean.volume.voxel_volume
    assert 1200 < clean.mask.sum() * ml < 1900
    shares = [(clean.three == t.index).sum() * ml for t in THREE.tissues]
    # adults: CSF inside the dura 150-500, grey 500-900, white 350-700 mL
    assert 150 < shares[0] < 550
    assert 500 < shares[1] < 950
    assert 350 < shares[2] < 750
    cortex, deep, stem, cerebellum = ((clean.six == i).sum() * ml for i in (2, 4, 5, 6))
    assert 350 < cortex < 800
    assert 35 < deep < 80
    assert 12 < stem < 40
    assert 90 < cerebellum < 200


def test_labels_fill_the_mask_and_nothing_else(clean: Phantom) -> None:
    for labels in (clean.intensity, clean.three, clean.six):
        np.testing.assert_array_equal(labels > 0, clean.mask)


def test_the_whole_head_is_the_brain_and_what_lies_around_it(clean: Phantom) -> None:
    np.testing.assert_array_equal(clean.head[clean.mask], clean.three[clean.mask])
    index = {t.abbreviation: t.index for t in HEAD.tissues}
    around = clean.head[~clean.mask]
    assert set(np.unique(around)) == {index[name] for name in ("B", "ST", "AIR")}
    # an adult's skull holds 0.4 to 1.2 L, neck and jaw apart; every face of the field is air
    assert 400 < (around == index["B"]).sum() * clean.volume.voxel_volume < 1200
    assert clean.head[0, 0, -1] == index["AIR"]
    bone = clean.volume.data[clean.head == index["B"]]
    assert np.median(bone) < np.median(clean.volume.data[clean.head == index["ST"]])


def test_classes_of_intensity_merge_into_three_where_two_tissues_meet(clean: Phantom) -> None:
    parents = np.array([0, *THREE.values[list(INTENSITY.parents)]])
    # CSF touching white matter passes through grey intensities: the walls of the ventricles
    agree = parents[clean.intensity] == clean.three
    assert agree[clean.mask].mean() > 0.95


def test_csf_is_dark_on_t1_and_bright_on_t2(clean: Phantom, other: Phantom) -> None:
    for head, brighter in ((clean, THREE.tissues[2]), (other, THREE.tissues[0])):
        means = {t.index: head.volume.data[head.three == t.index].mean() for t in THREE.tissues}
        assert max(means, key=means.__getitem__) == brighter.index


def test_noise_in_air_is_rayleigh_of_the_asked_size(noisy: Phantom) -> None:
    corner = noisy.volume.data[-6:, :6, -6:]
    # Rayleigh's mean is sigma sqrt(pi / 2); 216 voxels know it to about 4 %
    assert corner.mean() == pytest.approx(90 * np.sqrt(np.pi / 2), rel=0.15)


def test_bias_spans_what_was_asked(clean: Phantom, noisy: Phantom) -> None:
    assert np.ptp(noisy.bias) == pytest.approx(0.4, abs=1e-5)
    assert np.ptp(clean.bias) == 0
    # white matter is bright: Rician noise of 9 % lifts its mean by 0.4 %
    white = clean.intensity == 6
    ratio = noisy.volume.data[white].mean() / (clean.volume.data * noisy.bias)[white].mean()
    assert ratio == pytest.approx(1, abs=0.01)


def test_anisotropic_voxels_show_the_same_head(clean: Phantom) -> None:
    thick = make_phantom(zooms=(2.0, 2.0, 6.0), noise=0, bias=0)
    assert thick.volume.zooms == (2.0, 2.0, 6.0)
    volumes = [h.mask.sum() * h.volume.voxel_volume for h in (clean, thick)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.03)


@pytest.mark.parametrize(
    "options",
    [{"contrast": "T9"}, {"noise": -1.0}, {"bias": 1000.0}, {"zooms": (0.0, 1.0, 1.0)}],
)
def test_nonsense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        make_phantom(**options)  # type: ignore[arg-type]


def test_every_contrast_names_every_tissue() -> None:
    assert {len(levels) for levels in CONTRASTS.values()} == {11}
