"""Tissues around seeds: maximum likelihood with labels, of which some are known."""

from __future__ import annotations

import numpy as np
import pytest
from tissue_heads import dice, small_brain

from brainseg.errors import DataError
from brainseg.tissues import tables
from brainseg.tissues.fit import FitOptions, fit_tissues
from brainseg.tissues.seeds import fit_seeded

ZOOMS = (3.0, 3.0, 3.0)
THREE = tables.table("three")
CSF, GM, WM = (int(v) for v in THREE.values)


def brain(**options: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`small_brain`, its truth by the values of the table."""
    data, mask, truth = small_brain(**options)
    return data, mask, np.array([0, CSF, GM, WM], np.uint8)[truth]


def some_seeds(truth: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    chosen = np.random.default_rng(seed).random(truth.shape) < share
    return np.where(chosen, truth, 0).astype(np.int32)


def test_the_named_model_stays_itself_around_a_few_labels() -> None:
    data, mask, _ = brain(noise=0.04)
    plain = fit_tissues(data, mask, ZOOMS, table=THREE)
    place = 1 + plain.responsibilities.argmax(axis=1)
    own = np.where(np.random.default_rng(0).random(len(place)) < 0.02, place, 0)
    seeded = fit_tissues(data, mask, ZOOMS, table=THREE, options=FitOptions(seeds=own))
    before, after = (f.fractions.sum(axis=0) for f in (plain, seeded))
    # its own labels tell the model nothing new
    np.testing.assert_allclose(after, before, rtol=0.02)
    assert (seeded.labels != plain.labels).mean() < 0.01


def test_the_named_model_keeps_labels_against_all_evidence() -> None:
    data, mask, truth = brain(noise=0.04)
    known = np.zeros(mask.sum(), np.int64)
    wrong = np.flatnonzero(truth[mask] == WM)[::40]
    known[wrong] = 1
    fit = fit_tissues(data, mask, ZOOMS, table=THREE, options=FitOptions(seeds=known))
    assert (fit.labels[wrong] == CSF).all()
    assert (fit.three_labels[wrong] == CSF).all()
    others = np.setdiff1d(np.flatnonzero(truth[mask] == WM), wrong)
    assert (fit.labels[others] == WM).mean() > 0.9


def test_a_few_labels_name_the_tissues_and_the_rest_is_inferred() -> None:
    data, mask, truth = brain(noise=0.04)
    fit = fit_seeded(data, mask, some_seeds(truth, 0.005), zooms=ZOOMS, table=THREE, bias="none")
    assert [dice(fit.labels == k, truth[mask] == k) > 0.93 for k in (1, 2, 3)] == [True] * 3
    # Tissues keep the names that the seeds give them, whatever their brightness.
    names = np.array([0, 3, 1, 2], np.uint8)
    turned = fit_seeded(
        data, mask, some_seeds(names[truth], 0.005), zooms=ZOOMS, table=THREE, bias="none"
    )
    assert (turned.labels == names[fit.labels]).mean() > 0.999


def test_a_labelled_voxel_keeps_its_label_against_all_evidence() -> None:
    data, mask, truth = brain(noise=0.04)
    seeds = some_seeds(truth, 0.01)
    wrong = np.argwhere((truth == WM) & (seeds == 0))[::40]
    seeds[tuple(wrong.T)] = 1
    fit = fit_seeded(data, mask, seeds, zooms=ZOOMS, table=THREE, bias="none")
    known = seeds[mask]
    np.testing.assert_array_equal(fit.labels[known > 0], known[known > 0])
    columns = np.eye(3)[np.argsort(THREE.values)]
    np.testing.assert_array_equal(fit.responsibilities[known > 0], columns[known[known > 0] - 1])
    assert dice(fit.labels == WM, truth[mask] == WM) > 0.9


def test_a_fully_labelled_brain_needs_no_em() -> None:
    data, mask, truth = brain(noise=0.04)
    fit = fit_seeded(data, mask, truth.astype(np.int32), zooms=ZOOMS, table=THREE, bias="none")
    assert fit.mixture.n_iter_ == 0
    for k, label in enumerate((CSF, GM, WM)):
        values = data[truth == label].astype(float)
        np.testing.assert_allclose(fit.mixture.means_[k, 0], values.mean(), rtol=1e-9)
        np.testing.assert_allclose(fit.mixture.covariances_[k, 0, 0], values.var(), rtol=1e-6)


def test_a_second_contrast_separates_what_the_first_cannot() -> None:
    data, mask, truth = brain(noise=0.04)
    # CSF as bright as grey matter in the first contrast, dark in the second.
    first = np.where(truth == CSF, data[truth == GM].mean(), data).astype(np.float32)
    first += np.random.default_rng(1).normal(0, 30, data.shape).astype(np.float32)
    seeds = some_seeds(truth, 0.01)
    options = {"zooms": ZOOMS, "table": THREE, "bias": "none"}
    alone = fit_seeded(first, mask, seeds, **options)
    both = fit_seeded(first, mask, seeds, channels={"T2w": data}, **options)
    assert both.mixture.means_.shape == (3, 2)
    assert dice(alone.labels == CSF, truth[mask] == CSF) < 0.75
    assert dice(both.labels == CSF, truth[mask] == CSF) > 0.93


def test_n4_takes_a_field_out_first() -> None:
    data, mask, truth = brain(noise=0.03, bias=0.4)
    seeds = some_seeds(truth, 0.02)
    plain, corrected = (
        fit_seeded(data, mask, seeds, zooms=ZOOMS, table=THREE, bias=bias)
        for bias in ("none", "n4")
    )
    assert plain.log_bias is None
    assert corrected.log_bias is not None
    gain = [
        dice(corrected.labels == k, truth[mask] == k) - dice(plain.labels == k, truth[mask] == k)
        for k in (GM, WM)
    ]
    assert min(gain) > 0


def test_seeds_that_cannot_be_used_are_named() -> None:
    data, mask, truth = brain()
    options = {"zooms": ZOOMS, "table": THREE, "bias": "none"}
    with pytest.raises(DataError, match="Grey matter has fewer than 2"):
        fit_seeded(data, mask, np.where(truth == GM, 0, truth).astype(np.int32), **options)
    with pytest.raises(DataError, match="holds label 9"):
        fit_seeded(data, mask, np.where(truth == GM, 9, truth).astype(np.int32), **options)
